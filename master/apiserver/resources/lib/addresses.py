"""What Kubernetes accepts as the address of an endpoint or of a service.

Source: k8s.io/kubernetes pkg/apis/core/validation (IsValidIPForLegacyField, ValidateEndpointIP).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

from common.api import errors
from master.apiserver.resources.lib.checks import Findings

NOT_AN_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address, or None; leading zeros are no address, for readers differ on what they mean."""
    try:
        return ip_address(text)
    except (AddressValueError, ValueError):
        return None


def ip(path: str, text: str) -> Findings:
    """A text that must be an address."""
    address = parse(text)
    if address is None:
        yield errors.invalid(path, text, NOT_AN_ADDRESS)
    elif isinstance(address, IPv6Address) and address.ipv4_mapped:
        yield errors.invalid(path, text, "must not be an IPv4-mapped IPv6 address")


def endpoint_ip(path: str, text: str) -> Findings:
    """An address that traffic may be sent to: none of the special ones."""
    yield from ip(path, text)
    address = parse(text)
    if address is None:
        return
    if address.is_unspecified:
        yield errors.invalid(path, text, f"may not be unspecified ({text})")
    if address.is_loopback:
        detail = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        yield errors.invalid(path, text, detail)
    if address.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        yield errors.invalid(path, text, detail)
    if address.is_multicast:
        detail = "may not be in the multicast range (224.0.0.0/4, ff00::/8)"
        if text.startswith("224.0.0.") or text.lower().startswith("ff02:"):
            detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        yield errors.invalid(path, text, detail)


def form(path: str, text: str) -> Iterator[str]:
    """A warning for an address that is written in another way than the one all agree on."""
    address = parse(text)
    if isinstance(address, IPv6Address) and str(address) != text:
        canonical = f'should be in RFC 5952 canonical format ("{address}")'
        yield f'{path}: IPv6 address "{text}" {canonical}'
