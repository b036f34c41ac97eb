"""`aam receive`, killed by SIGKILL at its n-th step: before or after a statement, a load, or a fetched file.

python killed.py ENGINE FOLDER HOST N
"""

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sandboxes import CRM, DESTINATION

from aam_onboard.destinations.directory import Directory
from receiving.helpers import Place, make_warehouse

engine, folder, host, last = sys.argv[1:]
steps = itertools.count(1)


def around(owner: Any, name: str) -> None:
    real = getattr(owner, name)

    def step() -> None:
        if next(steps) == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    def acting(*arguments: Any, **more: Any) -> Any:
        step()
        result = real(*arguments, **more)
        step()
        return result

    setattr(owner, name, acting)


warehouse = make_warehouse(engine, Path(folder), host, "aam_killed", anew=False)  # type: ignore[arg-type]
for name in ("execute", "load"):
    around(type(warehouse), name)
around(Directory, "fetch")
place = Place(Path(folder), engine, warehouse)  # type: ignore[arg-type]
place.outbound = {
    "web": {
        "destination_id": DESTINATION,
        "master_dpid": CRM,
        "ids_of": 0,
        "max_shrink": 1,
        "separator": "space",
    }
}
place.ok(force=True)
