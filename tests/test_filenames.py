"""The grammar of file names: every name we write is read back, and a wrong one says what is wrong."""

import datetime
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_onboard.filenames import FileNameError, IdSyncName, InboundName, object_key, parse, picked_up_names

NOW = 1700000000
SAID = re.compile("prefix|DPID|timestamp|mode|split number|extension|the (file )?name")

EXAMPLES = {
    f"ftp_dpm_58342_{NOW}.sync": InboundName(58342, NOW, "sync"),
    f"ftp_dpm_58342_{NOW}.overwrite": InboundName(58342, NOW, "overwrite"),
    f"ftp_dpm_58342_{NOW}.sync.gz": InboundName(58342, NOW, "sync", extension="gz"),
    f"ftp_dpm_58342_{NOW}.sync.1.gz": InboundName(58342, NOW, "sync", split=1, extension="gz"),
    f"ftp_dpm_58342_{NOW}.overwrite.120": InboundName(58342, NOW, "overwrite", split=120),
    f"ftp_dpm_0_58342_{NOW}.sync": InboundName(0, NOW, "sync", target_dpid=58342),
    f"ftp_dpm_20915_58342_{NOW}.sync.gpg": InboundName(20915, NOW, "sync", 58342, extension="gpg"),
    f"ftp_dpm_20914_58342_{NOW}.sync.2.pgp": InboundName(20914, NOW, "sync", 58342, 2, "pgp"),
    f"ftp_dpm_1171489_7_{NOW}.overwrite": InboundName(1171489, NOW, "overwrite", 7),
    f"ftp_dpm_odc_58342_{NOW}.sync.gz": InboundName(58342, NOW, "sync", extension="gz", partner=True),
    f"ftp_dpm_odc_58342_7_{NOW}.overwrite": InboundName(58342, NOW, "overwrite", 7, partner=True),
    f"adobe_id_0_58342_{NOW}.sync": IdSyncName("adobe_id", (0, 58342), NOW),
    f"adobe_id_20914_58342_58343_{NOW}.sync.3.gz": IdSyncName(
        "adobe_id", (20914, 58342, 58343), NOW, 3, "gz"
    ),
    f"c2c_id_58342_58343_{NOW}.sync.gpg": IdSyncName("c2c_id", (58342, 58343), NOW, extension="gpg"),
}

# name → what the message must say of it
MALFORMED = {
    "": "the file name is empty",
    f"ftp_58342_{NOW}.sync": "the prefix is unknown",
    "S3_1234_20914_Customer_iter_1486140844000001.sync.gz": "the prefix is unknown",
    f"FTP_DPM_58342_{NOW}.sync": "prefix `FTP_DPM_` is not in lower case",
    f"Adobe_ID_0_1_{NOW}.sync": "prefix `Adobe_ID_` is not in lower case",
    f"ftp_dpm_12x4_{NOW}.sync": "DPID `12x4` is not a number",
    f"ftp_dpm_1_2x_{NOW}.sync": "target DPID `2x` is not a number",
    f"ftp_dpm_-5_{NOW}.sync": "DPID `-5` is not a number",
    f"ftp_dpm_²_{NOW}.sync": r"DPID `\xb2` is not a number",
    f"ftp_dpm_058342_{NOW}.sync": "DPID `058342` begins with 0",
    f"ftp_dpm_00_{NOW}.sync": "DPID `00` begins with 0",
    f"ftp_dpm_{'9' * 19}_{NOW}.sync": "has more than 18 digits",
    f"ftp_dpm_{'9' * 5000}_{NOW}.sync": "longer than 255 bytes",
    f"ftp_dpm__{NOW}.sync": "the DPID is empty",
    f"ftp_dpm_1__{NOW}.sync": "the target DPID is empty",
    f"ftp_dpm_{NOW}.sync": "the DPID is missing",
    f"ftp_dpm_1_2_3_{NOW}.sync": "3 DPIDs in the name",
    f"ftp_dpm_odc_1_2_3_{NOW}.sync": "3 DPIDs in the name",
    "ftp_dpm_58342.sync": "the timestamp is missing",
    "ftp_dpm_58342_.sync": "the timestamp is missing",
    "ftp_dpm_58342_1700000000123.sync": "timestamp `1700000000123` has 13 digits, milliseconds",
    "ftp_dpm_58342_170000000.sync": "timestamp `170000000` has 9 digits",
    "ftp_dpm_58342_0700000000.sync": "timestamp `0700000000` begins with 0",
    "ftp_dpm_58342_2023-11-14.sync": "timestamp `2023-11-14` is not a number",
    f"ftp_dpm_58342_{NOW}": "the mode is missing",
    f"ftp_dpm_58342_{NOW}.gz": "the mode is missing, `.gz` stands in its place",
    f"ftp_dpm_58342_{NOW}.1.gz": "the mode is missing, `.1` stands in its place",
    f"ftp_dpm_58342_{NOW}.csv": "mode `.csv` is unknown",
    f"ftp_dpm_58342_{NOW}.gz.sync": "`.gz` stands before the mode",
    f"ftp_dpm_58342_{NOW}.SYNC": "mode `.SYNC` is not in lower case",
    f"ftp_dpm_58342_{NOW}.sync.overwrite": "mode `.overwrite` stands a second time",
    f"ftp_dpm_58342_{NOW}.processed": "Audience Manager has picked this file up",
    f"ftp_dpm_58342_{NOW}.sync.1.gz.processed": "Audience Manager has picked this file up",
    f"ftp_dpm_58342_{NOW}.sync.gz.gpg": "extension `.gpg` follows `.gz`",
    f"ftp_dpm_58342_{NOW}.sync.pgp.gz": "extension `.gz` follows `.pgp`",
    f"ftp_dpm_58342_{NOW}.sync.gz.gz": "extension `.gz` follows `.gz`",
    f"ftp_dpm_58342_{NOW}.sync.GZ": "extension `.GZ` is not in lower case",
    f"ftp_dpm_58342_{NOW}.sync.bz2": "extension `.bz2` is unknown",
    f"ftp_dpm_58342_{NOW}.sync.": "an extension is empty",
    f"ftp_dpm_58342_{NOW}.sync..gz": "an extension is empty",
    f"ftp_dpm_58342_{NOW}.sync.0.gz": "split number `0` is not a whole number from 1",
    f"ftp_dpm_58342_{NOW}.sync.01.gz": "split number `01` begins with 0",
    f"ftp_dpm_58342_{NOW}.sync.1of3.gz": "split number `1of3` is not a number",
    f"ftp_dpm_58342_{NOW}.sync.-1.gz": "split number `-1` is not a number",
    f"ftp_dpm_58342_{NOW}.sync.1.2": "split number `2` follows another",
    f"ftp_dpm_58342_{NOW}.sync.gz.1": "split number `1` stands after `.gz`",
    f" ftp_dpm_58342_{NOW}.sync": "the name begins with a space",
    f"ftp_dpm_58342_{NOW}.sync\n": "the name ends with a space",
    f"ftp_dpm_58342 {NOW}.sync": "the name is broken with a space",
    f"out/ftp_dpm_58342_{NOW}.sync": "the name holds a path",
    f"C:\\ftp_dpm_58342_{NOW}.sync": "the name holds a path",
    f"adobe_id_0_{NOW}.sync": "1 DPID in the name",
    f"adobe_id_0_0_{NOW}.sync": "DPID `0` stands twice",
    f"adobe_id_0_1_{NOW}.overwrite": "mode `.overwrite` in an ID sync",
    "adobe_id_0_58342.sync": "timestamp `58342` has 5 digits",
    f"c2c_id_1_{NOW}.sync": "1 DPID in the name",
    f"c2c_id_1_2_3_{NOW}.sync": "3 DPIDs in the name",
}

numbers = st.integers(0, 10**18 - 1)
timestamps = st.integers(10**9, 10**10 - 1)
splits = st.none() | st.integers(1, 10**18 - 1)
extensions = st.sampled_from(["", "gz", "gpg", "pgp"])
data_names = st.builds(
    InboundName,
    numbers,
    timestamps,
    st.sampled_from(["sync", "overwrite"]),
    st.none() | numbers,
    splits,
    extensions,
    st.booleans(),
)
id_sync_names = st.one_of(
    st.builds(
        IdSyncName,
        st.just("adobe_id"),
        st.lists(numbers, min_size=2, max_size=8, unique=True).map(tuple),
        timestamps,
        splits,
        extensions,
    ),
    st.builds(
        IdSyncName,
        st.just("c2c_id"),
        st.lists(numbers, min_size=2, max_size=2, unique=True).map(tuple),
        timestamps,
        splits,
        extensions,
    ),
)
file_names = data_names | id_sync_names


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_name_is_read_and_written_back(name: str) -> None:
    assert parse(name) == EXAMPLES[name]
    assert str(EXAMPLES[name]) == name


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_name_says_which_element_is_wrong(name: str) -> None:
    with pytest.raises(FileNameError) as caught:
        parse(name)
    message = str(caught.value)
    assert MALFORMED[name] in message
    assert "\n" not in message
    assert len(message) < 600


@given(file_names)
def test_every_name_reads_back_as_itself(name: InboundName | IdSyncName) -> None:
    assert parse(str(name)) == name
    assert name.kind == ("data" if isinstance(name, InboundName) else "id_sync")


@given(file_names, st.data())
def test_a_mutated_name_is_another_valid_name_or_a_clear_error(
    name: InboundName | IdSyncName, data: st.DataObject
) -> None:
    text = str(name)
    position = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 3))
    inserted = data.draw(st.text(alphabet="._0123456789syncgpzodaet \n/é\udc80", max_size=4))
    mutated = text[:position] + inserted + text[position + cut :]
    try:
        parsed = parse(mutated)
    except FileNameError as error:
        assert SAID.search(str(error).removeprefix(mutated)), error
        assert "\n" not in str(error)
    else:
        assert str(parsed) == mutated


@given(st.text())
def test_any_text_gives_a_name_or_a_clear_error(text: str) -> None:
    try:
        assert str(parse(text)) == text
    except FileNameError as error:
        assert SAID.search(str(error))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dpid": -1}, "DPID `-1`"),
        ({"dpid": "58342"}, "DPID `58342`"),
        ({"dpid": 10**5000}, "DPID `a number of thousands of digits`"),
        ({"target_dpid": -2}, "target DPID `-2`"),
        ({"timestamp": 1700000000123}, "timestamp `1700000000123`"),
        ({"timestamp": 170000000}, "timestamp `170000000`"),
        ({"mode": "append"}, "mode `append`"),
        ({"split": 0}, "split number `0`"),
        ({"split": True}, "split number `True`"),
        ({"extension": "zip"}, "extension `zip`"),
    ],
)
def test_a_data_name_checks_itself_on_construction(values: dict[str, Any], said: str) -> None:
    with pytest.raises(FileNameError, match=re.escape(said)):
        InboundName(**{"dpid": 58342, "timestamp": NOW, "mode": "sync", **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prefix": "ftp_dpm"}, "prefix `ftp_dpm`"),
        ({"dpids": (0,)}, "1 DPID"),
        ({"dpids": ()}, "0 DPIDs"),
        ({"dpids": (0, 1, 0)}, "DPID `0` stands twice"),
        ({"prefix": "c2c_id", "dpids": (1, 2, 3)}, "3 DPIDs"),
        ({"dpids": tuple(range(10**17, 10**17 + 20))}, "longer than 255 bytes"),
        ({"timestamp": 1}, "timestamp `1`"),
        ({"split": -1}, "split number `-1`"),
    ],
)
def test_an_id_sync_name_checks_itself_on_construction(values: dict[str, Any], said: str) -> None:
    with pytest.raises(FileNameError, match=re.escape(said)):
        IdSyncName(**{"prefix": "adobe_id", "dpids": (0, 58342), "timestamp": NOW, **values})


def test_a_picked_up_file_may_stand_under_two_names() -> None:
    assert picked_up_names(f"ftp_dpm_1_{NOW}.overwrite.2.gz") == (
        f"ftp_dpm_1_{NOW}.processed.2.gz",
        f"ftp_dpm_1_{NOW}.overwrite.2.gz.processed",
    )
    with pytest.raises(FileNameError):
        picked_up_names("report.csv")


@given(file_names)
def test_picked_up_names_are_never_names_to_send(name: InboundName | IdSyncName) -> None:
    for picked_up in picked_up_names(str(name)):
        with pytest.raises(FileNameError, match="picked this file up"):
            parse(picked_up)


def test_the_key_is_partner_day_and_name() -> None:
    key = object_key("acme", datetime.date(2026, 3, 9), f"ftp_dpm_1_{NOW}.sync")
    assert key == f"acme/date=2026-03-09/ftp_dpm_1_{NOW}.sync"


@pytest.mark.parametrize("partner", ["", "a/b", "..", ".hidden", " acme", "acme\n", "a\\b", "a\tb"])
def test_a_partner_name_is_one_folder(partner: str) -> None:
    with pytest.raises(FileNameError, match="partner_name"):
        object_key(partner, datetime.date(2026, 3, 9), f"ftp_dpm_1_{NOW}.sync")


def test_the_file_name_of_a_key_is_one_part() -> None:
    with pytest.raises(FileNameError, match="path"):
        object_key("acme", datetime.date(2026, 3, 9), "../x.sync")
