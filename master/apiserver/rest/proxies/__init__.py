"""Requests that are answered by programs in pods: the subresource `proxy` of pods and services.

    proxying    joins a client's request with the program's answer
    heads       which headers go on, both ways, and where links lead. Pure
    links       the links of HTML pages, rewritten as the pages pass. Pure
    exchange    one request and its answer in HTTP/1.1 (h11 has the protocol, without IO)
    wires       the bytes to and from a program, with TLS or without

Source: k8s.io/apimachinery pkg/util/proxy; Go's net/http/httputil.ReverseProxy.
"""
