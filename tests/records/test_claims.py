"""One owner at a time, also after the death of the last one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from zoo.records.claims import Claim, Claims


def abandon(folder: Path, name: str, *, age: float) -> Path:
    """The claim of a process on another machine that was last touched so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.0.claim"
    path.write_text(json.dumps({"host": "elsewhere", "machine": "another", "pid": 1, "started": 0.0}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_of_those_who_ask_at_once_one_has_the_claim(tmp_path: Path) -> None:
    abandon(tmp_path, "7", age=900)  # also where it is taken from the dead
    found: dict[str, list[Claim]] = {str(number): [] for number in range(20)}
    with Claims(tmp_path) as one, Claims(tmp_path) as other:

        def ask(claims: Claims) -> None:
            for name, taken in found.items():
                claim = claims.take(name)
                taken.extend([] if claim is None else [claim])

        threads = [threading.Thread(target=ask, args=(claims,)) for claims in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [len(taken) for taken in found.values()] == [1] * 20
    assert found["7"][0].generation == 1


def test_the_dead_of_this_machine_are_not_waited_for(tmp_path: Path) -> None:
    take = "import sys; from pathlib import Path; from zoo.records.claims import Claims; import os\n"
    take += "claims = Claims(Path(sys.argv[1])).__enter__(); claims.take('work'); os._exit(9)"
    subprocess.run([sys.executable, "-c", take, str(tmp_path)], check=False)
    assert [path.name for path in tmp_path.glob("*.claim")] == ["work.0.claim"]
    with Claims(tmp_path) as claims:
        assert claims.take("work") is not None


def test_a_claim_outlives_its_owner_by_its_expiry_and_no_more(tmp_path: Path) -> None:
    abandon(tmp_path, "fresh", age=30)
    old = abandon(tmp_path, "old", age=90)
    with Claims(tmp_path, expiry=60) as claims, Claims(tmp_path, expiry=60) as others:
        assert claims.take("fresh") is None
        claim = claims.take("old")
        assert claim is not None
        assert claim.generation == 1
        assert others.take("old") is None
        assert claims.holds(claim)
        claims.release(claim)
        assert not old.exists()
        again = others.take("old")
        assert again is not None
        assert again.generation == 0


def test_an_owner_that_lives_keeps_its_claim(tmp_path: Path) -> None:
    with Claims(tmp_path, expiry=0.5) as claims, Claims(tmp_path, expiry=0.5) as others:
        claim = claims.take("slow")
        assert claim is not None
        time.sleep(0.8)
        assert others.take("slow") is None
