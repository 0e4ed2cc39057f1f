"""Which of several members of etcd is used, decided by what they answer. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member said when it was asked through its quorum."""

    problem: str = ""
    """Why it does not serve; '' when it does."""
    cluster_id: int = 0
    """0 when it did not say."""


class Members:
    """The choice among members, which are numbers from 0.

    The one in use stays for as long as it answers; when it does not, the first other one that
    does takes its place. When none answers it stays: all that can be had of a cluster without a
    majority is a lost connection. A member of another cluster never takes its place, for its data
    are not ours.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.current = 0
        self.problem = ""
        """Of the current one."""
        self.foreign: frozenset[int] = frozenset()
        """Those that were found to be of another cluster."""
        self._cluster_id = 0

    @property
    def others(self) -> tuple[int, ...]:
        """Those that could take the place of the current one, in the order to ask them."""
        return tuple((self.current + step) % self._count for step in range(1, self._count))

    def heard(self, member: int, answer: Answer) -> bool:
        """Take in an answer; whether another member is now the current one."""
        if self._is_foreign(answer):
            self.foreign |= {member}
            answer = Answer(problem="it is a member of another cluster")
        elif not answer.problem:
            self.foreign -= {member}
            self._cluster_id = self._cluster_id or answer.cluster_id
        if member == self.current:
            self.problem = answer.problem
        elif self.problem and not answer.problem:
            self.current, self.problem = member, ""
            return True
        return False

    def _is_foreign(self, answer: Answer) -> bool:
        return bool(
            self._cluster_id and answer.cluster_id and answer.cluster_id != self._cluster_id
        )
