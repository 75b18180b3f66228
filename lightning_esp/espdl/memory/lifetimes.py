"""Lifetimes of tensors, and the buffers that they share, as ESP-DL 3.3.9 reckons them.

The reckoning is reproduced with what it overlooks: it parts an operator that overwrites its input from that input only
where the input itself is read again, not where a view of the same bytes is; and a graph output that is a view lives for
ever only until the tensor behind it is read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_esp.espdl.memory.program import Placing, Program, Step

FOREVER = -1


@dataclass(eq=False)
class Lifetime:
    """One tensor.

    Attributes:
        name: The tensor.
        size: Its bytes.
        begin: The step that writes it; 0 for a graph input.
        end: The first step that may reuse its bytes, or `FOREVER`.
        leader: The tensor whose bytes it shares, and which owns them or follows another one itself.
        overwriter: The follower that replaces these bytes.
        view: The latest follower that leaves them as they are.
    """

    name: str
    size: int
    begin: int
    end: int = FOREVER
    leader: Lifetime | None = None
    overwriter: Lifetime | None = field(default=None, repr=False)
    view: Lifetime | None = field(default=None, repr=False)

    @property
    def owner(self) -> Lifetime:
        """The tensor whose bytes these are in the end."""
        return self if self.leader is None else self.leader.owner

    def extend(self, end: int) -> None:
        """Keep the bytes, the leader's too, until `end` at least; `FOREVER` holds until the next call."""
        if self.leader is not None:
            self.leader.extend(end)
            self.end = self.leader.end
        else:
            self.end = end if end == FOREVER else max(self.end, end)

    def read(self) -> None:
        """Part from the follower that would have replaced what is read now."""
        if self.overwriter is not None:
            self.overwriter.leader = None
            self.overwriter = None

    def follow(self, leader: Lifetime, placing: Placing) -> None:
        """Share the bytes of `leader`, unless this tensor replaces them and a view of them exists."""
        # Even where nothing comes of it, the leader's life has been extended.
        if leader.end < self.end or self.end == FOREVER:
            leader.extend(self.end)
        if placing is Placing.VIEW:
            self.leader, leader.view = leader, self
        elif leader.view is None:
            self.leader, leader.overwriter = leader, self


def lifetimes_of(program: Program) -> dict[str, Lifetime]:
    """Reckon every lifetime, in the order in which ESP-DL numbers the tensors; graph inputs that nothing reads have none."""
    lives = {name: Lifetime(name, program.sizes[name], 0) for name in program.inputs}
    order: dict[str, None] = {}
    for index, step in enumerate(program.steps):
        order |= dict.fromkeys((*step.inputs, *step.outputs))
        for name in step.inputs:
            lives[name].read()
            if name not in program.outputs:
                lives[name].extend(index + 1)
        lives |= {name: Lifetime(name, program.sizes[name], index) for name in step.outputs}
        if step.placing is not Placing.SEPARATE:
            _share(program, step, lives)
    return {name: lives[name] for name in order}


def _share(program: Program, step: Step, lives: dict[str, Lifetime]) -> None:
    output = lives[step.outputs[0]]
    fitting = [n for n in step.inputs if lives[n].size >= output.size and n not in program.outputs]
    if fitting:
        output.follow(lives[fitting[0]], step.placing)
