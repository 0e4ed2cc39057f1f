"""`wherry proxy table|trace`: the program asks the proxy's socket and prints what it answers."""

from __future__ import annotations

import argparse
import asyncio
import stat
from pathlib import Path

import pytest

from common.cli import proxy as verb
from node.kubeproxy.report import serving
from node.kubeproxy.table import Table
from tests.unit.kubeproxy.objects import FACTS, VIP, endpoint, endpoint_slice, service


def a_table() -> Table:
    """One service with an endpoint here, one elsewhere and one that is refused."""
    table = Table(FACTS)
    table.put_service("default/web", service(sessionAffinity="ClientIP"))
    ends = (endpoint("10.42.1.2"), endpoint("10.42.2.2", "n2"), endpoint("127.0.0.1"))
    table.put_slice("default/web-1", endpoint_slice(*ends))
    return table


async def said(path: Path, *arguments: str) -> None:
    """Run the verb as the command line would."""
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    found = parser.parse_args(["proxy", "--socket", str(path), *arguments])
    await asyncio.get_running_loop().run_in_executor(None, found.run, found)


async def test_the_table_shows_endpoints_and_what_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "proxy.sock"
    async with serving(str(path), a_table()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await said(path, "table")
    printed = capsys.readouterr().out
    assert "10.42.1.2:8080*, 10.42.2.2:8080" in printed
    assert "ClientIP 10800 s" in printed
    assert "127.0.0.1 of default/web: it is a loopback address" in printed


async def test_a_trace_says_where_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "proxy.sock"
    async with serving(str(path), a_table()):
        await said(path, "trace", "203.0.113.5", f"{VIP}:80")
        await said(path, "trace", "10.42.1.9", f"{VIP}:81", "--udp")
    printed = capsys.readouterr().out
    assert "goes to 10.42.1.2:8080 or 10.42.2.2:8080" in printed
    assert "203.0.113.5 is outside of the cluster" in printed
    assert "/udp is refused at once\n" in printed


async def test_a_question_that_makes_no_sense_is_answered_with_what_is_wrong(
    tmp_path: Path,
) -> None:
    path = tmp_path / "proxy.sock"
    async with serving(str(path), a_table()):
        with pytest.raises(SystemExit, match="wherry: 'nobody' is not an IPv4 address"):
            await said(path, "trace", "nobody", f"{VIP}:80")
        for port in ("", ":0", ":65536", ":x", ":80/udp"):
            with pytest.raises(SystemExit, match="is not ADDRESS:PORT"):
                await said(path, "trace", "10.42.1.9", VIP + port)


async def test_without_a_proxy_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot ask kube-proxy"):
        await said(tmp_path / "none.sock", "table")
