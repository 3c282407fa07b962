"""The short form of ``make soak``: every fault at least once, in a random order."""

from pathlib import Path

import pytest

from tests.soak import Soak, soak

SECONDS = 60.0


async def test_everything_equals_the_truth(tmp_path: Path) -> None:
    soaked = await soak(SECONDS, 1, tmp_path)
    assert len(soaked.faults) == 10
    assert len(soaked.beats) > 300
    assert soaked.gaps


@pytest.mark.parametrize("spoilt", ["beats", "steps", "refused", "gaps"])
async def test_it_would_notice(tmp_path: Path, spoilt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat, a step, a refusal or a reason more than there was: the check fails."""
    check = Soak.check

    def spoil(soaked: Soak) -> None:
        match spoilt:
            case "beats":
                soaked.beats.append(800)
            case "steps":
                soaked.steps[0] = 1
            case "refused":
                soaked.refused += 1
            case _:
                soaked.gaps.append("")
        check(soaked)

    async def nothing(self: Soak, seconds: float) -> None:
        await self.tell()
        await self.stop_gateway()

    monkeypatch.setattr(Soak, "check", spoil)
    monkeypatch.setattr(Soak, "run", nothing)
    with pytest.raises(AssertionError):
        await soak(0, 1, tmp_path)
