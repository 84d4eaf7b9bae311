"""Which strata each study searches. It loads no Optuna."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.identity import Stratum
from orchestrator.spec import SweepSpec


@dataclass(frozen=True, kw_only=True)
class StudyPart:
    """What one study searches: all strata of a forget set, those of one replicate, or one of them."""

    name: str
    """Name of the study."""
    stream: str
    """Name of the random draws of its sampler: studies that differ in the replicate alone draw the same."""
    members: tuple[Stratum, ...]
    """A proposal makes a trial for each."""

    @property
    def forget_set(self) -> str:
        """The forget set of all strata."""
        return self.members[0].forget_set

    @property
    def strata(self) -> list[str]:
        """Names of the strata."""
        return [member.name for member in self.members]

    @property
    def replicates(self) -> list[int]:
        """The replicates of the strata, each once."""
        return list(dict.fromkeys(member.replicate for member in self.members))


def study_parts(spec: SweepSpec) -> Iterator[StudyPart]:
    """Yield what each study of a sweep searches: see ``search.across``."""
    members: dict[tuple[str, str], list[Stratum]] = {}
    for stratum in spec.strata:
        members.setdefault(_names(stratum, spec.search.across), []).append(stratum)
    for (name, stream), own in members.items():
        yield StudyPart(name=name, stream=stream, members=tuple(own))


def _names(stratum: Stratum, across: str) -> tuple[str, str]:
    """Return the name of the study that searches a stratum, and that of its random draws."""
    if across == "each":
        return stratum.name, replace(stratum, replicate=0).name
    own = across == "seeds" and stratum.replicate
    return f"{stratum.forget_set}{f'/replicate={own}' if own else ''}", stratum.forget_set
