"""Make the demo's source tables, seeds/shop/*.csv, from the CDNOW sample.

    python scripts/make_demo_data.py CDNOW_sample.txt

`purchases.csv` holds the real purchases, row by row. All other files are synthetic: made here with a fixed
seed, dated 1997-98 like the purchases, so that they are the same on every run. A few rows of each are bad on
purpose, in the ways in which real CRM data is bad.
"""

import argparse
import csv
import datetime as dt
import random
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

SEED = 58342
DATA_ENDS = dt.datetime(1998, 6, 30)
Row = Sequence[object]

FIRST_NAMES = [
    "anna",
    "ben",
    "carla",
    "david",
    "eva",
    "frank",
    "grace",
    "henri",
    "ines",
    "jürgen",
    "karl",
    "lucía",
    "mia",
]
LAST_NAMES = [
    "keller",
    "smith",
    "garcía",
    "novak",
    "o'brien",
    "peters",
    "rossi",
    "stone",
    "taylor",
    "weiß",
    "young",
]
REGIONS = ["North East", "Mid West", "South", "West"]
CITIES = ["New York", "Chicago", "San José", "Houston", "St. Paul", "Boston", "Washington, DC", "Cañon City"]
GENRES = ["classical", "jazz", "rock", "pop", "country", "hip-hop", "r&b"]
HEARD_OF = ["radio, TV", "a friend", "magazine", "web search", "concert"]

# IDs that no data source may send, as CRM exports hold them
BAD_CUSTOMER_IDS = [
    "",
    "anna.keller@example.com",
    "ben.smith%40example.org",
    "B00901 ",
    " B00902",
    "B00903\u00a0",
    "B00904\tX",
    "B:00905",
    "B%3A00906",
    "M%C3%BCller-907",
    "+1 212 555 0147",
    "203.0.113.7",
    "2001:db8::7",
]


def main() -> None:
    """Read the sample named on the command line and write every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sample", type=Path, help="CDNOW_sample.txt of the Python package `lifetimes`")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "seeds" / "shop")
    arguments = parser.parse_args()

    purchases = read_sample(arguments.sample)
    spend: dict[str, float] = defaultdict(float)
    for customer_id, _, _, amount in purchases:
        spend[customer_id] += float(amount)

    # Shops (B) and wholesalers (W) order by invoice: they have IDs but no purchases here.
    shops = [f"B{number:05d}" for number in range(1, 41)]
    wholesalers = [f"W/{number:05d}" for number in range(1, 21)]
    buyers = sorted(spend)

    tables: dict[str, tuple[str, Iterable[Row]]] = {
        "purchases": ("customer_id,purchased_on,cds,amount_usd", purchases),
        "crm_customers": (
            "customer_id,loyalty_tier,region,email,opted_out,updated_at",
            crm_customers(buyers, shops + wholesalers, spend),
        ),
        "crm_email_history": ("customer_id,email,updated_at", crm_email_history(buyers)),
        "registrations": (
            "customer_id,registered_on,gender,birth_year,city,newsletter",
            registrations(buyers),
        ),
        "survey_responses": ("customer_id,question,answer,answered_at", survey_responses(buyers)),
        "web_id_captures": (
            "aam_uuid,customer_id,captured_at",
            web_id_captures(buyers, shops, wholesalers),
        ),
        "mobile_devices": ("customer_id,platform,device_id,captured_at", mobile_devices(buyers)),
    }
    for name, (header, rows) in tables.items():
        write_csv(arguments.out / f"{name}.csv", header.split(","), rows)


def read_sample(path: Path) -> list[tuple[str, str, str, str]]:
    """Read the sample's purchases: customer ID, ISO date, number of CDs, amount in USD."""
    rows = []
    for line in path.read_text(encoding="ascii").splitlines():
        customer_id, _, day, cds, amount = line.split()
        rows.append((customer_id, f"{day[:4]}-{day[4:6]}-{day[6:]}", cds, amount))
    return rows


def crm_customers(buyers: list[str], others: list[str], spend: dict[str, float]) -> list[Row]:
    """One current row a customer, and what exports hold besides: bad IDs, repeats, superseded rows."""
    rng = random.Random(f"{SEED} customers")
    rows: list[Row] = []
    for customer_id in buyers + others:
        amount = spend.get(customer_id, 0) * rng.uniform(0.6, 1.6)
        tier = "gold" if amount > 250 else "silver" if amount > 80 else "bronze"
        region = rng.choice(REGIONS)
        opted_out = rng.random() < 0.03 and customer_id in spend and customer_id not in PLANTED
        rows.append(
            (
                customer_id,
                tier if rng.random() < 0.97 else "",
                region if rng.random() < 0.95 else "",
                email(rng, customer_id),
                str(opted_out).lower(),
                moment(rng),
            )
        )
    current = rows[:]
    for row in rng.sample(current, 6):  # exported twice
        rows.append(row)
    for row in rng.sample(current, 6):  # an older state of the same customer
        rows.append((row[0], "bronze", "South", row[3], "false", "1997-01-01 09:00:00"))
    for bad_id in BAD_CUSTOMER_IDS:
        rows.append((bad_id, "silver", "West", "", "false", moment(rng)))
    return rows


def email(rng: random.Random, customer_id: str) -> str:
    """Make a pseudo address, now and then as people type them: capitals, spaces, none, nonsense."""
    address = f"{rng.choice(FIRST_NAMES)}.{rng.choice(LAST_NAMES)}.{customer_id.replace('/', '')}@example."
    address += rng.choice(["com", "org"])
    chance = rng.random()
    if chance < 0.05:
        return ""
    if chance < 0.06:
        return rng.choice(["n/a", "none", "unknown"])
    if chance < 0.12:
        return address.title()
    if chance < 0.14:
        return f" {address} "
    return address


def crm_email_history(buyers: list[str]) -> list[Row]:
    """Former addresses of a tenth of the buyers; the first buyer changed theirs eleven times."""
    rng = random.Random(f"{SEED} email history")
    rows: list[Row] = [
        (buyers[0], f"{buyers[0]}.{number}@example.com", f"1997-{number:02d}-15 12:00:00")
        for number in range(1, 12)
    ]
    for customer_id in rng.sample(buyers[1:], len(buyers) // 10):
        rows.append((customer_id, f"old.{email(rng, customer_id).strip()}", "1997-01-01 12:00:00"))
    return rows


def registrations(buyers: list[str]) -> list[Row]:
    """Site registrations of four buyers in five; some fields left out, some registered twice."""
    rng = random.Random(f"{SEED} registrations")
    rows: list[Row] = []
    for customer_id in buyers:
        if rng.random() < 0.8:
            rows.append(
                (
                    customer_id,
                    str(DATA_ENDS.date() - dt.timedelta(days=rng.randrange(540))),
                    rng.choice(["female", "male", "female", "male", ""]),
                    rng.randint(1928, 1982) if rng.random() < 0.9 else "",
                    rng.choice(CITIES),
                    rng.choice(["true", "false"]),
                )
            )
    rows += rng.sample(rows, 5)
    return rows


def survey_responses(buyers: list[str]) -> list[Row]:
    """Answers of a quarter of the buyers to three questions; free text holds what it should not."""
    rng = random.Random(f"{SEED} survey")
    rows: list[Row] = []
    for customer_id in rng.sample(buyers, len(buyers) // 4):
        answered = moment(rng)
        rows.append((customer_id, "favourite_genre", rng.choice(GENRES), answered))
        rows.append((customer_id, "satisfaction", rng.randint(1, 5), answered))
        if rng.random() < 0.5:
            rows.append((customer_id, "heard_of_us", rng.choice(HEARD_OF), answered))
    answers = [
        "write to eva.stone@example.org",
        "mia%40example.com",
        "+1 212 555 0123",
        "(212) 555-0188",
        'the "CD club" flyer',
        "radio\tand TV",
        "a friend\nfrom work",
    ]
    answered_heard = {str(row[0]) for row in rows if row[1] == "heard_of_us"}
    others = [customer_id for customer_id in buyers if customer_id not in answered_heard]
    for customer_id, answer in zip(rng.sample(others, len(answers)), answers, strict=True):
        rows.append((customer_id, "heard_of_us", answer, "1998-06-01 10:00:00"))
    rows += rng.sample(rows[:100], 4)
    return rows


# Customers whose ID the site spells otherwise than the CRM, by what differs. These IDs get no other capture.
CASE_TWINS = [f"B{number:05d}" for number in (3, 7, 12, 19)]
SPACE_TWINS = ["B00021", "B00022", "B00025"]
ENCODING_TWINS = ["W/00002", "W/00005", "W/00011"]
ZERO_TWINS = ["00021", "00050", "00071", "00086", "00111"]  # CDNOW's own IDs
PLANTED = {*CASE_TWINS, *SPACE_TWINS, *ENCODING_TWINS, *ZERO_TWINS}


def web_id_captures(buyers: list[str], shops: list[str], wholesalers: list[str]) -> list[Row]:
    """The site's log of AAM UUIDs and customer IDs: half the customers, some on two devices, some repeats."""
    rng = random.Random(f"{SEED} web")
    missing = PLANTED - {*buyers, *shops, *wholesalers}
    if missing:
        raise SystemExit(f"planted IDs that the sample does not hold: {sorted(missing)}")
    rows: list[Row] = []
    for customer_id in buyers + shops + wholesalers:
        if customer_id not in PLANTED and rng.random() < 0.5:
            for _ in range(rng.choice([1, 1, 1, 2])):
                rows.append((aam_uuid(rng), customer_id, moment(rng)))
    for uuid_38, customer_id, _ in rng.sample(rows, 40):  # the same pair, seen again
        rows.append((uuid_38, customer_id, "1998-06-29 20:00:00"))

    shown = [customer_id.lower() for customer_id in CASE_TWINS]
    shown += [f"{SPACE_TWINS[0]} ", f" {SPACE_TWINS[1]}", f"{SPACE_TWINS[2]} "]
    shown += [customer_id.lstrip("0") for customer_id in ZERO_TWINS]
    shown += [customer_id.replace("/", "%2F") for customer_id in ENCODING_TWINS]
    for customer_id in shown:
        for _ in range(rng.choice([1, 2])):
            rows.append((aam_uuid(rng), customer_id, moment(rng)))
    # no mismatch: the site shows these both ways, so the exact spelling is known too
    for customer_id in ("B00030", "B00031"):
        rows.append((aam_uuid(rng), customer_id, moment(rng)))
        rows.append((aam_uuid(rng), customer_id.lower(), moment(rng)))

    good = buyers[10:20]
    rows += [
        (aam_uuid(rng) + "7", good[0], moment(rng)),  # 39 digits
        (aam_uuid(rng)[:37], good[1], moment(rng)),
        ("0" * 38, good[2], moment(rng)),
        ("", good[3], moment(rng)),
        (aam_uuid(rng)[:-1] + "x", good[4], moment(rng)),
        (aam_uuid(rng), "", moment(rng)),
        (aam_uuid(rng), "carla.rossi@example.com", moment(rng)),
        (aam_uuid(rng), "(212) 555-0199", moment(rng)),
        (aam_uuid(rng), "198.51.100.23", moment(rng)),
        (aam_uuid(rng), "session:7731", moment(rng)),
    ]
    return rows


def mobile_devices(buyers: list[str]) -> list[Row]:
    """Devices of a third of the buyers; GAIDs in lower case, IDFAs in upper case, but for the bad ones."""
    rng = random.Random(f"{SEED} mobile")
    rows: list[Row] = []
    by_platform: dict[str, list[str]] = {"ios": [], "android": []}
    for customer_id in buyers:
        if customer_id not in PLANTED and rng.random() < 0.35:
            platform = rng.choice(["ios", "android", "android"])
            by_platform[platform].append(customer_id)
            rows.append((customer_id, platform, device_id(rng, platform), moment(rng)))
    for row in rng.sample(rows, 8):  # logged twice
        rows.append(row)

    tablet = device_id(rng, "android")  # in a shop, where twelve customers logged in
    for day, customer_id in enumerate(by_platform["android"][:12], start=1):
        rows.append((customer_id, "android", tablet, f"1998-03-{day:02d} 11:00:00"))

    zeros = str(uuid.UUID(int=0))  # limited ad tracking
    bad_android = [device_id(rng, "ios"), device_id(rng, "ios"), zeros, zeros, ""]
    bad_android += [f"{device_id(rng, 'android')} ", device_id(rng, "android")[:30]]
    bad_ios = [device_id(rng, "android"), device_id(rng, "android"), device_id(rng, "android"), zeros, ""]
    bad_ios += [device_id(rng, "ios").replace("-", "")]
    for platform, bad_ids in {"android": bad_android, "ios": bad_ios}.items():
        for customer_id, bad_id in zip(by_platform[platform][20:], bad_ids, strict=False):
            rows.append((customer_id, platform, bad_id, moment(rng)))
    return rows


def aam_uuid(rng: random.Random) -> str:
    """38 decimal digits, not beginning with a zero."""
    return str(rng.randrange(10**37, 10**38))


def device_id(rng: random.Random, platform: str) -> str:
    """Make an advertising ID in the letter case of its platform."""
    text = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return text.upper() if platform == "ios" else text


def moment(rng: random.Random) -> str:
    """Pick a second of the last year of the data."""
    return str(DATA_ENDS - dt.timedelta(seconds=rng.randrange(1, 365 * 86_400)))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Row]) -> None:
    """Write UTF-8, LF line ends, quotes only where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
