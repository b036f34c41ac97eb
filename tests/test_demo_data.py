"""The demo's seeds are what the committed script makes."""

import csv
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[1] / "demo"
SEEDS = DEMO / "seeds" / "shop"


def test_seeds_are_what_the_script_makes(tmp_path: Path) -> None:
    with (SEEDS / "purchases.csv").open(newline="") as file:
        purchases = list(csv.DictReader(file))
    assert len(purchases) == 6919
    assert len({row["customer_id"] for row in purchases}) == 2357

    sample = tmp_path / "CDNOW_sample.txt"
    with sample.open("w", newline="") as file:
        for row in purchases:
            day = row["purchased_on"].replace("-", "")
            file.write(f" {row['customer_id']} 0001 {day} {row['cds']:>2} {row['amount_usd']:>7}\r\n")
    script = DEMO / "make_demo_data.py"
    subprocess.run([sys.executable, script, sample, "--out", tmp_path / "made"], check=True)

    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert made == {path.name: path.read_bytes() for path in SEEDS.glob("*.csv")}
