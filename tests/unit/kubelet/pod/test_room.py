"""What is set aside on a machine, and who gets what becomes free."""

from node.kubelet.pod.resources.room import Refusal, Request, Room

MIB = 1 << 20


class Waiters:
    """Notes who is told that there is room."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def request(
        self, name: str, cpu: int, memory: int = MIB, *, priority: int = 0, guaranteed: bool = False
    ) -> Request:
        amounts = {"cpu": cpu, "memory": memory}
        return Request(amounts, priority, guaranteed, lambda: self.told.append(name))


def room(**held: int) -> Room:
    """A machine of one CPU, and pods with so much of it."""
    made = Room({"cpu": 1000, "memory": 1024 * MIB})
    for uid, cpu in held.items():
        made.hold(uid, {"cpu": cpu, "memory": MIB})
    return made


def test_what_fits_is_set_aside() -> None:
    one, waiters = room(a=100, b=100), Waiters()
    assert one.ask("a", waiters.request("a", 900)) is None
    text = "Node didn't have enough resource: cpu, requested: 101, used: 900, capacity: 1000"
    assert one.ask("b", waiters.request("b", 101)) == Refusal("Deferred", text)


def test_what_no_machine_like_this_has_is_infeasible() -> None:
    one = room(a=100)
    text = "Node didn't have enough capacity: cpu, requested: 1001, capacity: 1000"
    assert one.ask("a", Waiters().request("a", 1001)) == Refusal("Infeasible", text)
    text = f"Node didn't have enough capacity: memory, requested: {2048 * MIB}"
    refusal = one.ask("a", Waiters().request("a", 100, 2048 * MIB))
    assert refusal == Refusal("Infeasible", f"{text}, capacity: {1024 * MIB}")


def test_a_pod_may_always_shrink() -> None:
    one = room(a=900, b=900)
    assert one.ask("b", Waiters().request("b", 800)) is None


def test_what_a_pod_leaves_goes_to_those_that_wait() -> None:
    one, waiters = room(a=500, b=250, c=250), Waiters()
    assert one.ask("b", waiters.request("b", 700)) is not None
    one.leave("a")
    assert waiters.told == ["b"]
    assert one.ask("b", waiters.request("b", 700)) is None
    assert one.ask("c", waiters.request("c", 400)) is not None
    assert waiters.told == ["b"]


def test_what_a_pod_gives_back_goes_to_those_that_wait() -> None:
    one, waiters = room(a=500, b=500), Waiters()
    assert one.ask("b", waiters.request("b", 800)) is not None
    assert one.ask("a", waiters.request("a", 200)) is None
    assert waiters.told == ["b"]


def test_the_order_is_by_priority_then_guaranteed_then_time() -> None:
    one, waiters = room(a=600, b=100, c=100, d=100, e=100), Waiters()
    for name, members in {
        "b": {},
        "c": {},
        "d": {"guaranteed": True},
        "e": {"priority": 5},
    }.items():
        assert one.ask(name, waiters.request(name, 600, **members)) is not None
    told = []
    for leaves in ("a", "e", "d", "b"):
        one.leave(leaves)
        told.append(list(waiters.told))
    assert told == [["e"], ["e", "d"], ["e", "d", "b"], ["e", "d", "b", "c"]]


def test_a_later_request_of_a_pod_takes_the_place_of_its_former_one() -> None:
    one, waiters = room(a=500, b=250, c=250), Waiters()
    assert one.ask("b", waiters.request("b", 600)) is not None
    assert one.ask("c", waiters.request("c", 600)) is not None
    assert one.ask("b", waiters.request("b again", 700)) is not None
    one.leave("a")
    assert waiters.told == ["b again"]


def test_who_has_left_is_not_told() -> None:
    one, waiters = room(a=800, b=200), Waiters()
    assert one.ask("b", waiters.request("b", 600)) is not None
    one.leave("b")
    one.leave("a")
    assert waiters.told == []
