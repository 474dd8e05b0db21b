"""One connection for life, and a transaction on it again and again. What became of each goes, a line each, to the file that is named: who it
is (what /run/who has at the time), a number, the server's process, and ok or the SQLSTATE."""
import sys
import time

import psycopg2

connection = psycopg2.connect(host="127.0.0.1", port=5432, user="shop", password="secret", dbname="postgres")
cursor = connection.cursor()
number = 0
with open(sys.argv[1], "w", buffering=1) as log:
    while True:
        number += 1
        who = open("/run/who").read().strip()
        backend = 0
        try:
            cursor.execute("SELECT pg_backend_pid()")
            backend = cursor.fetchone()[0]
            cursor.execute("INSERT INTO orders VALUES (%s, %s)", (who, number))
            connection.commit()
            outcome = "ok"
        except psycopg2.Error as error:
            outcome = error.pgcode or repr(error)
            connection.rollback()
        log.write(f"{who} {number} {backend} {outcome}\n")
        time.sleep(0.5)
