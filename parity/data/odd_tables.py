"""Small Parquet and Arrow files for packages/data/test/sources: what pyarrow and Polars write."""

import datetime
import decimal
import pathlib

import polars
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

OUT = pathlib.Path(__file__).parents[2] / "packages/data/test/fixtures/tables"


def chats(rows):
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "messages": pa.array(
                [
                    [
                        {"role": "user", "content": f"question {i}"},
                        {"role": "assistant", "content": None if i % 7 == 3 else f"answer {i} é"},
                    ]
                    for i in range(rows)
                ],
                pa.list_(message),
            ),
            "score": pa.array([None if i % 5 == 0 else i / 4 for i in range(rows)], pa.float64()),
        }
    )


def types():
    utc = datetime.timezone.utc
    return pa.table(
        {
            "big": pa.array([2**53, 2**53 + 1, None], pa.int64()),
            "unsigned": pa.array([2**64 - 1, 0, 1], pa.uint64()),
            "small": pa.array([-1, 0, 1], pa.int8()),
            "float": pa.array([float("nan"), 1.5, float("inf")], pa.float32()),
            "flag": pa.array([True, False, None]),
            "text": pa.array(["a", "", "日本語\n"]).dictionary_encode(),
            "bytes": pa.array([b"text", b"\xff\xfe", None], pa.binary()),
            "day": pa.array([datetime.date(2024, 2, 29), None, datetime.date(1960, 1, 1)]),
            "time": pa.array(
                [datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, utc), None, datetime.datetime(1969, 12, 31, 23, 59, 59, 500000, utc)],
                pa.timestamp("us", "UTC"),
            ),
            "price": pa.array([decimal.Decimal("12.34"), None, decimal.Decimal("-0.05")], pa.decimal128(10, 2)),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        }
    )


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    table = chats(40)
    for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
        pq.write_table(table, OUT / f"chats-{codec}.parquet", compression=codec, row_group_size=25)
    pq.write_table(table, OUT / "chats-v2.parquet", data_page_version="2.0", use_dictionary=False)
    pq.write_table(types(), OUT / "types.parquet")
    for codec in ["uncompressed", "lz4", "zstd"]:
        feather.write_feather(table, OUT / f"chats-{codec}.feather", compression=codec, chunksize=25)
    with pa.ipc.new_stream(OUT / "chats-stream.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    feather.write_feather(types(), OUT / "types.feather", compression="uncompressed")
    feather.write_feather(pa.table({"id": [1, 2]}), OUT / "version1.feather", version=1)
    # The schema in the footer alone, texts as views; and what pyarrow wrote before 0.15.
    polars.from_arrow(table).write_ipc(OUT / "chats-polars.arrow", compression="lz4")
    polars.from_arrow(table).write_parquet(OUT / "chats-polars.parquet")
    with pa.ipc.new_file(
        OUT / "chats-legacy.arrow", table.schema, options=pa.ipc.IpcWriteOptions(use_legacy_format=True)
    ) as writer:
        writer.write_table(table, max_chunksize=25)
    # One text of 300 kB: blocks of LZ4 that lean on one another.
    long = pa.table({"text": ["".join(f"word {i * i % 997} " for i in range(30_000))]})
    feather.write_feather(long, OUT / "long.feather", compression="lz4")


main()
