"""The `.info`: as the guide shows it, as JSON, and what is neither."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam_onboard.errors import DeliveryError
from aam_onboard.outbound.control import ControlledFile, read_control

GUIDE = """
{
    Files : [ {
        FileByteSize : 3813,
        FileLineCount : 484,
        FileName : "s3_4411_full_1700000000123-1.sync.gz",
        FileSequenceNumber : 1,
        md5 : "A15ed0d3a17e35c3a2b8b6d4b1d2c3e4",
    }, {
        FileByteSize : 12,
        "FileName" : "a \\"b\\" {x: [1,2]}",
        md5 : "zz5ed0d3a17e35c3a2b8b6d4b1d2c3e4"
    } ],
    Totals : { FileName : "s3_4411_full_1700000000123.sync", TotalByteSize : 3825, TotalNumberFiles : 3, }
}
"""


def test_the_guides_form() -> None:
    found = read_control(GUIDE, "x.info")
    assert found.files == (
        ControlledFile("s3_4411_full_1700000000123-1.sync.gz", 3813, 484, "a15ed0d3a17e35c3a2b8b6d4b1d2c3e4"),
        ControlledFile('a "b" {x: [1,2]}', 12, None, None),
    )
    assert found.count == 3
    assert read_control("\ufeff" + GUIDE, "x.info") == found


def test_strict_json_and_no_file() -> None:
    assert read_control('{"Files": [{"FileName": "a"}], "Totals": {}}', "x.info").count == 1
    assert read_control('{"Files": [], "Totals": {"TotalNumberFiles": 0}}', "x.info").files == ()
    assert read_control("{Files: [],}", "x.info").count == 0


WRONG = {
    "": "its end stands where a value should",
    "{": "its end stands where a value should",
    "{Files: [}": "is no control file",
    "{Files []}": "`[` stands where : should",
    "{Files: [] Totals: {}}": "`Totals` stands where , should",
    "{Files: []} x": "`x` stands after its end",
    "{Files: 'a'}": "is no control file",
    '{Files: "a}': "a quote is never closed",
    "{Totals: {}}": "Files: is missing",
    "[]": "x.info",
    '{Files: [{FileByteSize: 1}]}': "FileName: is missing",
    '{Files: [{FileName: "a", FileByteSize: -1}]}': "FileByteSize",
    '{Files: [{FileName: "a", FileByteSize: "1"}]}': "FileByteSize",
    '{Files: [{FileName: "a"}, {FileName: "a"}]}': "names a file twice",
    "[" * 100_000: "is no control file",
    "{a:" * 1000: "nested too deeply",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_control_file(text: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        read_control(text, "x.info")
    assert WRONG[text] in str(caught.value)
    assert "x.info" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    st.text(max_size=30),
)
def test_any_text_is_read_or_refused(value: object, text: str) -> None:
    """Whatever JSON can say beside what is asked for is passed over."""
    known = {"Files": [{"FileName": "a", "other": value}], "more": value}
    assert read_control(json.dumps(known), "x.info").files == (ControlledFile("a", None, None, None),)
    try:
        read_control("{Files: [{FileName: " + text + "}]}", "x.info")
    except DeliveryError as error:
        assert "x.info" in str(error)
