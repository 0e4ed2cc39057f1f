"""What deploy/install and deploy/uninstall run: parse, decide, do, and say so.

`check` and `begin` need no environment. The one changes nothing and prints what an install would
do; the other changes nothing but the ledger and prints the packages to install. `install` runs in
the environment that it is to make current, and `prune` once that is Ready. `uninstall` needs none
either.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common.etcd.access import DEFAULT_PREFIX
from common.preflight import probe, rules
from common.preflight.facts import Facts, Role
from common.runtime.clock import SystemClock
from common.runtime.interfaces import reachable
from common.runtime.reasons import reason
from common.security.tokens import InvalidToken, parse_token
from deploy.machine import ledger as ledgers
from deploy.machine import observe, preview, undo, versions, wanted
from deploy.machine.ledger import Ledger, LedgerError
from deploy.machine.plan import Plan, plan, settled
from deploy.machine.steps import Executor, Remove, Step, StepFailed, Write
from deploy.machine.wanted import ETCD_FILES, TOKEN_FILE, Wanted

CERTIFICATE = Path("/var/lib/wherry/node/node-pki/node.pem")
FORMER_CERTIFICATE = CERTIFICATE.with_name("node.crt")
"""Of a node that joined before certificates were renewed."""
USAGE = "deploy/install master|node ...; deploy/install --help tells more"
NEXT_OF_MASTER = """\
The master serves {url}. Next, here:
  export KUBECONFIG=/var/lib/wherry/master/admin.kubeconfig
  wherry token create --uses 1        # a line for a file on the node, that only root can read
and on each node, from a checkout:
  deploy/install node --server {url} --token-file FILE"""
NEXT_OF_NODE = "The node is Ready: kubectl get nodes, on the master."


ETCD_OPTIONS = {"etcd-endpoints": "URL[,URL...]", **dict.fromkeys(ETCD_FILES, "FILE")}
ETCD_OPTIONS["etcd-prefix"] = "PREFIX"
"""Settings of the master that an install writes; the files are copied."""


class Refused(Exception):
    """Nothing was done; the message says why."""


def main() -> None:
    """Entry point of `python -m deploy.machine`."""
    if sys.argv[1:2] == ["uninstall"]:
        _uninstall(sys.argv[2:], "deploy/uninstall")
        return
    parser = argparse.ArgumentParser(prog="deploy/install", usage=USAGE, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, run in (("check", check), ("begin", begin), ("install", install)):
        roles = verbs.add_parser(verb, allow_abbrev=False, prog="deploy/install")
        roles.set_defaults(run=run)
        roles.add_argument("--programs", default="", help="the environment that is to be current")
        roles.add_argument(
            "--is-new", action="store_true", help="something was, or is to be, brought"
        )
        _add_roles(roles)
    pruning = verbs.add_parser("prune", allow_abbrev=False, prog="deploy/install")
    pruning.add_argument("kept", nargs="+", help="a version that stays")
    pruning.set_defaults(run=prune)
    arguments = parser.parse_args()
    _guarded("deploy/install", lambda: arguments.run(arguments))


def uninstall() -> None:
    """Entry point of the console script wherry-uninstall."""
    _uninstall(sys.argv[1:], "wherry-uninstall")


def _add_roles(parser: argparse.ArgumentParser) -> None:
    roles = parser.add_subparsers(dest="role", required=True, metavar="master|node")
    master = roles.add_parser("master", allow_abbrev=False)
    master.set_defaults(server="", token_file="")
    for name, metavar in ETCD_OPTIONS.items():
        master.add_argument(f"--{name}", default="", metavar=metavar)
    node = roles.add_parser("node", allow_abbrev=False)
    node.add_argument("--server", required=True, type=_url, metavar="https://HOST:6443")
    node.add_argument("--token-file", default="", metavar="FILE")


def _url(text: str) -> str:
    if problem := rules.server_problem(text):
        raise argparse.ArgumentTypeError(problem)
    return text


def _guarded(program: str, call: Callable[[], None]) -> None:
    os.umask(0o022)
    try:
        call()
    except (Refused, StepFailed, LedgerError) as error:
        sys.exit(f"{program}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


class Progress:
    """A line for each thing that is done, with the seconds since the start."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._start = self._clock.monotonic()

    def __call__(self, text: str) -> None:
        """Say it."""
        seconds = self._clock.monotonic() - self._start
        sys.stdout.write(f"{seconds:4.0f}s  {text}\n")
        sys.stdout.flush()


def check(arguments: argparse.Namespace) -> None:
    """Print what an install would do. Raises Refused where it would refuse the machine."""
    facts, executor = _checked(arguments), Executor()
    ledger = _ledger(arguments, executor)
    want = _wanted(arguments, facts)
    made = plan(want, observe.found(executor, ledger, want), ledger)
    said = preview.lines(
        made,
        packages=facts.missing,
        programs=arguments.programs if arguments.is_new else "",
        contents=observe.contents(executor, want),
    )
    sys.stdout.write("".join(f"{line}\n" for line in said))


def begin(arguments: argparse.Namespace) -> None:
    """Check the machine, note what is found, and print which packages are missing."""
    facts = _checked(arguments)
    _token(arguments)
    executor = Executor()
    before = observe.before(executor, facts.missing)
    file = executor.place(ledgers.FILE)
    ledgers.save(file, ledgers.load(file).beginning(arguments.role, before))
    sys.stdout.write("".join(f"{package}\n" for package in facts.missing))


def _checked(arguments: argparse.Namespace) -> Facts:
    """The machine's facts; raises Refused when something is in the way."""
    role: Role = arguments.role
    given = {name: getattr(arguments, name.replace("-", "_"), "") for name in ETCD_OPTIONS}
    given = {name: value for name, value in given.items() if value}
    facts = probe.facts(role, arguments.server, SystemClock(), given)
    findings = rules.check(role, facts)
    if arguments.verb != "install":
        sys.stderr.write("".join(f"{each}\n" for each in findings if not each.is_grave))
    grave = [each.text for each in findings if each.is_grave]
    if grave:
        raise Refused("this machine is not ready; mend this first:\n" + "\n".join(grave))
    return facts


def _token(arguments: argparse.Namespace) -> str:
    """The join token; '' where none is needed. Raises Refused."""
    if arguments.role == "master" or CERTIFICATE.exists() or FORMER_CERTIFICATE.exists():
        return ""
    if not arguments.token_file:
        raise Refused("--token-file is needed: `wherry token create` on the master prints a token")
    try:
        text = Path(arguments.token_file).read_text("utf-8")
        parse_token(text)
    except (OSError, UnicodeError) as error:
        raise Refused(f"{arguments.token_file} cannot be read: {reason(error)}") from error
    except InvalidToken as error:
        raise Refused(f"{arguments.token_file}: {error}") from error
    return text


def install(arguments: argparse.Namespace) -> None:
    """Make the machine what it is to be, with the environment that runs this, and wait for it."""
    say, executor = Progress(), Executor()
    facts = _checked(arguments)
    if facts.missing:
        raise Refused(f"packages are missing: apt-get install {' '.join(facts.missing)}")
    token = _token(arguments)
    ledger = _ledger(arguments, executor)
    want = _wanted(arguments, facts)
    made = plan(want, observe.found(executor, ledger, want), ledger)
    if not made.steps and not arguments.is_new:
        say(preview.NOTHING)
    carry_out(executor, made, token, say)
    _wait(arguments, want, executor, say)
    if arguments.role == "node":
        executor.do(Remove(TOKEN_FILE))  # it has done what it was for, also in an earlier run


def prune(arguments: argparse.Namespace) -> None:
    """Remove the versions that nobody goes back to. Raises StepFailed."""
    versions.remove_former(Executor(), arguments.kept, Progress())


def _ledger(arguments: argparse.Namespace, executor: Executor) -> Ledger:
    """The ledger, with this role begun."""
    ledger = ledgers.load(executor.place(ledgers.FILE))
    if arguments.role in ledger.roles:
        return ledger
    return ledger.beginning(arguments.role, observe.before(executor, ()))


def _wanted(arguments: argparse.Namespace, facts: Facts) -> Wanted:
    version = arguments.programs
    if arguments.role == "node":
        return wanted.node(version, arguments.server)
    choices = [facts.settings.get("advertise-address"), facts.routed_address]
    choices += [each.address for each in reachable(facts.interfaces)]
    return wanted.master(version, next(filter(None, choices)), _etcd(facts))


def _etcd(facts: Facts) -> wanted.Etcd | None:
    """What was found to be in order of an etcd that is not the master's own; None without one."""
    access = probe.access_of(facts.settings)
    if not access.endpoints:
        return None
    files = {name: facts.settings[name] for name in ETCD_FILES if name in facts.settings}
    return wanted.Etcd(
        endpoints=access.endpoints,
        pems={name: Path(file).read_text("ascii") for name, file in files.items()},
        prefix="" if access.prefix == DEFAULT_PREFIX else access.prefix,
    )


def carry_out(executor: Executor, made: Plan, token: str, say: Callable[[str], None]) -> None:
    """Write the ledger, then do all steps. Raises StepFailed."""
    file = executor.place(ledgers.FILE)
    ledgers.save(file, made.ledger)
    for path in made.kept:
        say(f"kept {path} as it is: it was written or changed by somebody else")
    if token:
        executor.do(Write(TOKEN_FILE, token, 0o600))
    for step in made.steps:
        say(step.what)
        executor.do(step)
    ledgers.save(file, settled(made.ledger))


def _wait(
    arguments: argparse.Namespace, want: Wanted, executor: Executor, say: Callable[[str], None]
) -> None:
    from deploy.machine import waiting  # needs the environment, which begin and uninstall have not

    is_master = arguments.role == "master"
    missing = waiting.master_missing if is_master else partial(_node_missing, arguments.server)
    waiting.until_ready(executor, want.units, missing, say, SystemClock())
    url = waiting.master_url() if is_master else ""
    say("ready")
    sys.stdout.write((NEXT_OF_MASTER.format(url=url) if is_master else NEXT_OF_NODE) + "\n")


def _node_missing(server: str) -> str:
    from deploy.machine import waiting

    return waiting.node_missing(server)


def _uninstall(words: list[str], program: str) -> None:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Remove Wherry from this machine; what it has stored stays.",
        allow_abbrev=False,
    )
    parser.add_argument("--purge", action="store_true", help="delete what it has stored, too")
    arguments = parser.parse_args(words)
    _guarded(program, lambda: remove(Executor(), purge=arguments.purge))


def remove(executor: Executor, *, purge: bool) -> None:
    """Undo what the ledger lists, and prove it. Raises StepFailed when something is left."""
    say = Progress()
    if os.geteuid() != 0:
        raise Refused("root is needed: sudo")
    ledger = ledgers.load(executor.place(ledgers.FILE))
    if ledger.is_empty:
        raise Refused(f"nothing is installed here: {ledgers.FILE} does not exist")
    failed = _do_all(executor, undo.stopping(ledger, observe.found(executor, ledger)), say)
    present, leftovers = observe.found(executor, ledger), observe.leftovers(executor)
    failed += _do_all(executor, undo.removing(ledger, present, leftovers, purge=purge), say)
    present = observe.found(executor, ledger)
    left = undo.left(ledger, present, observe.leftovers(executor), purge=purge)
    if left or failed:
        raise StepFailed("\n".join(("something is left:", *failed, *left)))
    _forget(executor, ledger, purge=purge)
    say("gone: no unit, process, container, mount, link, route, rule or file of Wherry is left")
    for line in undo.kept(ledger, present, purge=purge):
        say(f"kept: {line}")


def _do_all(executor: Executor, steps: list[Step], say: Callable[[str], None]) -> list[str]:
    """Do every step, whatever becomes of the others; answers what failed."""
    failed = []
    for step in steps:
        say(step.what)
        try:
            executor.do(step)
        except StepFailed as error:
            failed.append(str(error))
    return failed


def _forget(executor: Executor, ledger: Ledger, *, purge: bool) -> None:
    """Let the ledger list what is kept, or go."""
    if purge:
        executor.do(Remove(ledgers.FILE))
        executor.do(Remove(ledgers.FILE.rpartition("/")[0]))
    else:
        ledgers.save(executor.place(ledgers.FILE), undo.afterwards(ledger))


if __name__ == "__main__":
    main()
