"""A scheduler in a process of its own: places the pods with `schedulerName: mine` over HTTPS.

    own_process.py https://MASTER:6443 TOKEN_FILE CA_FILE

Needs Python's library only. The node with the fewest pods gets the next one. See
docs/own-scheduler.md.
"""

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

if len(sys.argv) != 4 or not sys.argv[1].startswith("https://"):
    sys.exit(__doc__)
SELECTOR = "fieldSelector=spec.schedulerName=mine,spec.nodeName="
try:
    SERVER, TOKEN = sys.argv[1], Path(sys.argv[2]).read_text().strip()
    TLS = ssl.create_default_context(cafile=sys.argv[3])
except OSError as error:
    sys.exit(f"cannot read the token or the authority: {error.strerror}")


def call(path, body=None):
    """The open answer to a GET, or to a POST when there is a body; raises OSError."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(SERVER + path, data, headers)
    return urllib.request.urlopen(request, context=TLS, timeout=30)


def usable(node):
    """Ready, not cordoned, and without a taint that keeps pods away."""
    ready = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}.get("Ready")
    hard = [t for t in node["spec"].get("taints", []) if t["effect"] != "PreferNoSchedule"]
    return ready == "True" and not hard and not node["spec"].get("unschedulable")


def place(pod):
    """Bind a pod to the usable node with the fewest pods; without one it waits."""
    nodes = [n["metadata"]["name"] for n in json.load(call("/api/v1/nodes"))["items"] if usable(n)]
    load = Counter(p["spec"].get("nodeName") for p in json.load(call("/api/v1/pods"))["items"])
    if nodes and not pod["spec"].get("schedulingGates"):
        about = {key: pod["metadata"][key] for key in ("namespace", "name", "uid")}
        target = {"kind": "Node", "name": min(nodes, key=lambda name: (load[name], name))}
        path = f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}/binding"
        call(path, {"metadata": about, "target": target}).close()


def watch():
    """Place each pod that waits, as it comes, for ten seconds; raises OSError."""
    for line in call(f"/api/v1/pods?watch=true&timeoutSeconds=10&{SELECTOR}"):
        event = json.loads(line)
        if event["type"] in ("ADDED", "MODIFIED"):
            try:
                place(event["object"])
            except urllib.error.HTTPError as error:  # gone meanwhile, or bound
                sys.stderr.write(f"{event['object']['metadata']['name']}: {error}\n")


try:
    while True:  # each watch begins with the pods that wait, so those without a node come again
        try:
            watch()
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            time.sleep(1)
except KeyboardInterrupt:
    sys.exit(130)
