// rows: threads that write rows through one connection of SQLite in its
// serialized mode, which takes the connection's mutex for each call; file= is
// the database. rows= rows a transaction, off microseconds asleep between two.
#include "app.h"
#include <sqlite3.h>

static sqlite3 *db;
static long rows, off;

static void *work(void *arg)
{
	char *sql = sqlite3_mprintf(
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %ld) "
		"SELECT sum(i * %ld %% 7) FROM n", rows, (long)arg + 3);
	for (;;) {
		int64_t t = now_us(), c = cpu_us();
		char *why = NULL;
		if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) {
			fprintf(stderr, "sqlite3: %s\n", why);
			exit(1);
		}
		lost(now_us() - t - (cpu_us() - c));
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	rows = number("rows", 20000), off = number("off", 0);
	if (sqlite3_open_v2(text("file", ":memory:"), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK)
		die("sqlite3_open");
	return run(1, number("threads", 4), work);
}
