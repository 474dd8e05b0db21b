"""PostgreSQL's own client library, as far as a benchmark needs it. Calls wait without Python's lock."""
import ctypes
import time

CONNECTION_OK = 0
DONE = (1, 2)  # PGRES_COMMAND_OK, PGRES_TUPLES_OK

_libpq = ctypes.CDLL("libpq.so.5")
for _name, _result, _arguments in (
        ("PQconnectdb", ctypes.c_void_p, [ctypes.c_char_p]),
        ("PQstatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQerrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
        ("PQfinish", None, [ctypes.c_void_p]),
        ("PQexec", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
        ("PQresultStatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQgetvalue", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ("PQclear", None, [ctypes.c_void_p])):
    _function = getattr(_libpq, _name)
    _function.restype, _function.argtypes = _result, _arguments


class Failed(Exception):
    """In libpq's words."""


class Connection:
    def __init__(self, parameters):
        self._connection = _libpq.PQconnectdb(parameters.encode())
        if _libpq.PQstatus(self._connection) != CONNECTION_OK:
            why = self._why()
            self.end()
            raise Failed(why)

    @classmethod
    def when_it_is_there(cls, parameters, patience_s):
        """To a server that starts."""
        until = time.monotonic() + patience_s
        while True:
            try:
                return cls(parameters)
            except Failed:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _why(self):
        return _libpq.PQerrorMessage(self._connection).decode().strip()

    def ask(self, sql, columns=0):
        """So many values of the first row."""
        result = _libpq.PQexec(self._connection, sql.encode())
        try:
            if _libpq.PQresultStatus(result) not in DONE:
                raise Failed(self._why())
            return [_libpq.PQgetvalue(result, 0, column).decode() for column in range(columns)]
        finally:
            _libpq.PQclear(result)

    def end(self):
        _libpq.PQfinish(self._connection)
