"""Untidy files: what is stated in `fewer.linear.table` happens."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from fewer.linear.table import read_table
from fewer.method import FewerError


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


TIDY = "x,colour,y\n1,red,2\n2,blue,3\n3,red,5\n"


def test_categories_become_one_group_of_indicator_columns(tmp_path):
    table = read_table(write(tmp_path, TIDY), "y")
    assert table.names == ("x", "colour=blue", "colour=red")
    assert table.groups.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(table.X, [[1, 0, 1], [2, 1, 0], [3, 0, 1]])
    np.testing.assert_array_equal(table.y, [2, 3, 5])


@pytest.mark.parametrize("suffix", ["parquet", "feather", "arrow"])
def test_every_format_gives_the_same_table(tmp_path, suffix):
    csv = read_table(write(tmp_path, TIDY), "y")
    frame = pd.read_csv(tmp_path / "t.csv")
    path = tmp_path / f"t.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_feather(path)
    other = read_table(path, "y")
    assert other.names == csv.names
    np.testing.assert_array_equal(other.X, csv.X)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x,y\n1,2\n,3\n4,5\n", {}, r"missing values in 'x' \(1\)"),
        ("x,y\n1,2\n2,\n4,5\n", {}, "target 'y' has 1 missing"),
        ("x,y\n1,2\ninf,3\n", {}, "column 'x' is infinite in row 2"),
        ("x,y\n1,2\n1e300,3\n", {}, "column 'x' holds 1e[+]300 in row 2; rescale it"),
        ("x,y\n1,2\n2,-1e200\n", {}, "target 'y' holds -1e[+]200 in row 2"),
        ("x,y\n1,2\n2,inf\n", {}, "target 'y' is not finite in row 2"),
        ("x,y\n1,2\n2,3\n3,4\noops,5\n", {}, "row 4 holds 'oops'"),
        ("x,y\n1,2\n", {}, r"1 usable row\(s\)"),
        ("x,y\n1,2\n2,2\n", {}, "constant"),
        ("x,y\n1,a\n2,a\n", {"family": "binomial"}, "one class only"),
        ("x,y\n1,a\n2,b\n3,c\n", {"family": "binomial"}, "3 classes"),
        ("x,y\n1,a\n2,b\n", {}, "not a number"),
        ("x,y\n1,-1\n2,3\n", {"family": "poisson"}, r"negative counts \(row 1\)"),
        ("x,y\n1,1\n2,3\n", {"family": "cox"}, "two columns"),
        ("x,y\n1,1\n2,3\n", {"family": "gausian"}, "did you mean 'gaussian'"),
        ("x,y\n1,1\n2,3\n", {"drop": ["z"]}, "no column 'z'"),
        ('x,y\n"1,000",1\n"2,500",3\n5,4\n', {}, "numbers written like '1,000'"),
        ("x,y\n5%,1\n7%,3\n5%,4\n", {}, "numbers written like '5%'"),
        ("x,y\n9007199254740993,1\n2,3\n", {}, "beyond 2.53 numbers are not exact"),
        ("x,y\n1,low\n2,mid\n3,high\n4,low\n5,mid\n6,high\n", {"family": "ordinal"}, "labels without an order"),
        ("x,y\n1,1.5\n2,2.5\n3,3.5\n4,4.5\n", {"family": "multinomial"}, "too many for classes"),
        ("x,y\na,1\nb,2\nc,3\n", {}, "3 levels in 3 rows; --drop 'x'"),
    ],
)
def test_a_fault_is_one_line_that_names_the_place(tmp_path, text, options, message):
    with pytest.raises(FewerError, match=message) as caught:
        read_table(write(tmp_path, text), "y", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (TIDY.replace(",", ";"), "semicolons"),
        (TIDY.replace(",", "\t"), "tabs"),
        (TIDY.replace(",", ";").replace("1;", "1,0;"), "decimal commas"),
        ("\ufeff" + TIDY, ""),
    ],
)
def test_dialects_of_csv_are_read_and_noted(tmp_path, text, note):
    table, tidy = read_table(write(tmp_path, text), "y"), read_table(write(tmp_path, TIDY, "tidy.csv"), "y")
    assert table.names == tidy.names and note in " ".join(table.notes)
    np.testing.assert_array_equal(table.X, tidy.X)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_refused(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(TIDY.replace("x,", "größe,").encode(encoding))
    with pytest.raises(FewerError, match="save it as UTF-8"):
        read_table(tmp_path / "t.csv", "y")
    (tmp_path / "u.csv").write_bytes(TIDY.replace("red", "grün").encode("latin-1"))
    with pytest.raises(FewerError, match="save the file as UTF-8"):
        read_table(tmp_path / "u.csv", "y")


@pytest.mark.parametrize("column", ["x", "y"])
def test_not_a_number_is_missing_in_every_format(tmp_path, column):
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4], "z": [1.0, 0, 0, 1], "y": [2.0, 3, 5, 4]})
    frame.loc[1, column] = np.nan
    parquet.write_table(pa.table({name: frame[name].to_numpy() for name in frame}), tmp_path / "t.parquet")
    with pytest.raises(FewerError, match="missing value"):
        read_table(tmp_path / "t.parquet", "y")
    assert read_table(tmp_path / "t.parquet", "y", missing="drop").X.tolist() == [[1, 1], [3, 0], [4, 1]]


def test_streams_bytes_and_ordered_categories_of_arrow(tmp_path):
    kind = pa.DictionaryArray.from_arrays([2, 0, 1, 2, 0, 1], ["low", "mid", "high"], ordered=True)
    table = pa.table({"x": [b"p", b"q", b"p", b"q", b"p", b"p"], "y": kind})
    with pa.ipc.new_stream(str(tmp_path / "t.arrow"), table.schema) as stream:
        stream.write_table(table)
    found = read_table(tmp_path / "t.arrow", "y", family="ordinal")
    assert found.classes == ("low", "mid", "high") and found.names == ("x=p", "x=q")


def test_rows_of_no_weight_are_left_out(tmp_path):
    table = read_table(write(tmp_path, "x,w,y\n1,0,9\n2,1,3\n4,2,5\n"), "y", weights="w")
    assert table.X.tolist() == [[2], [4]] and table.weights.tolist() == [1, 2]
    assert table.notes == ("1 row(s) of weight 0 left out",)


def test_missing_values_are_filled_or_dropped_on_request(tmp_path):
    path = write(tmp_path, "x,c,y\n1,a,2\n,b,3\n3,,5\n")
    filled = read_table(path, "y", missing="mean")
    np.testing.assert_array_equal(filled.X[:, 0], [1, 2, 3])
    assert "c=(missing)" in filled.names
    assert len(filled.notes) == 2
    assert read_table(path.with_name("t.csv"), "x", missing="drop", drop=["c"]).X.shape == (2, 1)


def test_constant_and_duplicated_columns_are_noted(tmp_path):
    table = read_table(write(tmp_path, "a,b,c,y\n1,1,7,2\n2,2,7,3\n"), "y")
    assert any("'b' equals 'a'" in note for note in table.notes)
    assert read_table(write(tmp_path, "a,b,y\n1,2,2\n2,3,3\n"), "y").notes == ("'b' equals the target",)
    assert any("constant" in note and "c" in note for note in table.notes)


def test_an_identifier_column_is_refused(tmp_path):
    rows = "".join(f"id{i},{i}\n" for i in range(60))
    with pytest.raises(FewerError, match="60 levels in 60 rows"):
        read_table(write(tmp_path, "id,y\n" + rows), "y")


def test_survival_target_has_time_and_event(tmp_path):
    table = read_table(write(tmp_path, "x,t,d\n1,5,1\n2,3,0\n"), "t,d", family="cox")
    assert table.names == ("x",)
    assert table.event.tolist() == [1, 0]


def test_ordinal_levels_keep_the_given_order(tmp_path):
    path = write(tmp_path, "x,y\n1,low\n2,high\n3,mid\n")
    table = read_table(path, "y", family="ordinal", levels=["low", "mid", "high"])
    assert table.classes == ("low", "mid", "high")
    assert table.y.tolist() == [0, 2, 1]


def test_sparse_files_stay_sparse(tmp_path):
    table = read_table(write(tmp_path, "1 1:2 2000000000:3\n2 5:1\n", "t.svmlight"), "target")
    assert (table.width, table.X.shape, table.names) == (2_000_000_000, (2, 3), ("1", "5", "2000000000"))
    assert table.X.nnz == 3
    some = read_table(tmp_path / "t.svmlight", "target", drop=["5", "7"])
    assert (some.width, some.names) == (1_999_999_998, ("1", "2000000000"))


def test_labels_of_sparse_files_are_ordered_as_numbers(tmp_path):
    text = "10 1:1\n2 1:2\n-1 1:3\n" * 2
    table = read_table(write(tmp_path, text, "t.svmlight"), "target", family="ordinal")
    assert table.classes == ("-1", "2", "10") and table.y.tolist() == [2, 1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "x,y\n1,2\n2,3,4\n", r"row 2 '2,3,4' has 3 field\(s\), the header 2; quote fields"),
        ("t.csv", "x,y\n1\n2,3\n", r"row 1 '1' has 1 field\(s\), the header 2"),
        ("t.csv", "\n\n", "holds no table: no line with the names of columns"),
        ("t.csv", "x,y\n1,2\n" + "3" * 3_000_000 + ",4\n", "has a line of more than 1 MB"),
        ("t.parquet", "", "t.parquet is empty"),
        ("t.parquet", "PAR1 is not enough PAR1", "is no whole Parquet file: it is damaged, cut off"),
        ("t.feather", "not arrow at all", "is no whole Arrow or Feather file"),
        ("t.csv", "x,y\n2020-01-01,2\n2020-01-02,3\n", "column 'x' holds dates; make it a number"),
        ("t.csv", "x,y\n2020-01-01 10:00,2\n2020-01-02 10:00,3\n", "column 'x' holds dates with times"),
    ],
)
def test_broken_files_are_refused_in_our_own_words(tmp_path, name, text, message):
    with pytest.raises(FewerError, match=message) as caught:
        read_table(write(tmp_path, text, name), "y")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_codes_with_leading_zeros_are_noted(tmp_path, between):
    rows = ["zip,n,y", "00501,1,2", "10001,20,4", '"02139",300,3', "0,5,8"]
    table = read_table(write(tmp_path, "\n".join(rows).replace(",", between)), "y")
    noted = [note for note in table.notes if "leading zeros" in note]
    assert noted == ["'zip' holds numbers with leading zeros (00501), read as 501; codes should be text"]


@pytest.mark.parametrize("sparse", [False, True])
def test_columns_that_are_the_target_in_other_units_are_noted(tmp_path, sparse):
    rng = np.random.default_rng(0)
    y, other = rng.standard_normal(30), rng.standard_normal(30)
    columns = {"1": y, "2": 2 * y, "3": 32 - 1.8 * y, "4": y + 0.01 * other, "5": other}
    if sparse:
        from sklearn.datasets import dump_svmlight_file

        dump_svmlight_file(np.column_stack(list(columns.values())), y, str(tmp_path / "t.svmlight"), zero_based=False)
        table = read_table(tmp_path / "t.svmlight", "target")
    else:
        pd.DataFrame({**columns, "target": y}).to_csv(tmp_path / "t.csv", index=False)
        table = read_table(tmp_path / "t.csv", "target")
    assert table.notes == ("'1' equals the target", "'2' is 2 times the target", "'3' is -1.8 times the target plus 32")
