"""The cells of events, certificates, leases and endpoint slices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common.api import times
from master.apiserver.printers import cells


def event(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of an Event, of either group: the same object under two sets of names."""
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    series = obj.get("series") or {}
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    return {
        "Last Seen": cells.age(series.get("lastObservedTime") or last, now),
        "Object": f"{kind}/{name}" if name else kind,
        "Subobject": about.get("fieldPath", ""),
        "Source": _source(obj),
        "Message": (obj.get("message") or obj.get("note") or "").strip(),
        "First Seen": cells.age(first, now),
        "Count": series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1,
    }


def _source(obj: dict[str, Any]) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    reporter = obj.get("reportingComponent") or obj.get("reportingController") or ""
    component = source.get("component") or reporter
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def certificate_signing_request(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a CertificateSigningRequest."""
    status, seconds = obj.get("status", {}), obj.get("spec", {}).get("expirationSeconds")
    kinds = {condition.get("type") for condition in status.get("conditions", [])}
    words = [next((kind for kind in ("Denied", "Approved") if kind in kinds), "Pending")]
    words += ["Failed"] if "Failed" in kinds else []
    words += ["Issued"] if status.get("certificate") else []
    return {
        "SignerName": obj.get("spec", {}).get("signerName") or cells.NONE,
        "RequestedDuration": cells.NONE if seconds is None else times.human_duration(seconds),
        "Condition": ",".join(words),
    }


def endpoint_slice(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of an EndpointSlice."""
    ports = [str(port.get("port", port.get("name", "*"))) for port in obj.get("ports") or []]
    found = [a for endpoint in obj.get("endpoints") or [] for a in endpoint.get("addresses", [])]
    return {
        "Ports": cells.listed(ports, len(ports)) if ports else "<unset>",
        "Endpoints": cells.listed(found, len(found)) if found else "<unset>",
    }
