"""kube-proxy: from Services and EndpointSlices to the rules that lead a packet to a pod.

`table` is what is known, `rules` what the kernel should hold, `plan` the difference, `model` the
answer to "where does this packet go"; all four are pure. `dataplane` carries plans out, `proxy` is
the shell. Nothing here knows of pods' containers or of the kubelet.
"""
