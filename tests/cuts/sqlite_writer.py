"""A writer that must lose when the power is cut, unless SYNCHRONOUS is FULL.

    sqlite_writer.py write DATABASE SYNCHRONOUS     commits a row at a time and prints its number, from 0 on
    sqlite_writer.py read DATABASE                  prints the numbers of the rows that are there
"""

import sqlite3
import sys

command, path = sys.argv[1:3]
database = sqlite3.connect(path, isolation_level=None)
if command == "write":
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {sys.argv[3]}")
    database.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, content BLOB)")
    number = 0
    while True:
        database.execute("INSERT INTO entry VALUES (?, randomblob(200))", (number,))
        print(number)
        number += 1
else:
    try:
        for (number,) in database.execute("SELECT id FROM entry ORDER BY id"):
            print(number)
    except sqlite3.DatabaseError as error:
        print(error, file=sys.stderr)
