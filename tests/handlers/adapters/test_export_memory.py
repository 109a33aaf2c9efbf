"""An export holds no more of a table than its bound at a time, however long the rows are."""

from __future__ import annotations

import psycopg

from handlers.adapters.exports import parquet, tables

LONG = tables.BUFFERED // 3
"""Characters of a row of which two go into the bound."""


async def test_long_rows_are_read_a_few_at_a_time_and_short_ones_many(store_url: str):
    async with await psycopg.AsyncConnection.connect(store_url) as connection:
        await connection.execute("CREATE SCHEMA t; SET search_path = t; CREATE TABLE notes (note text)")
        found = (await tables.of(connection, "t"))[0]
        await connection.execute("INSERT INTO notes SELECT n::text FROM generate_series(1, 5000) n")
        short = [chunk async for chunk in parquet.rows(connection, found)]
        assert len(short) == 5000 // tables.FETCHED + 2  # the last one is the end of the file
        # They differ in every character: what is alike takes no room in Parquet.
        long = "SELECT string_agg(md5(random()::text || n), '') FROM generate_series(1, %s) n"
        for _ in range(7):
            await connection.execute(f"INSERT INTO notes {long}".encode(), (LONG // 32,))
        for rows in (tables.rows_sql, parquet.rows):
            sizes = [len(chunk) async for chunk in rows(connection, found)]
            assert sum(sizes) > 7 * LONG
            assert max(sizes) < tables.BUFFERED * 1.1
