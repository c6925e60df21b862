package main

import "time"

const accounts = "create table acc(id int primary key, v bigint); insert into acc select i, 0 from generate_series(1, 1000) i"

// rowTrial has clients of a PostgreSQL that run a script; the target is the server.
func rowTrial(name, clients, script string, waiting float64) trial {
	return trial{name: "rows/" + name, expect: dbLock, make: func(b *bed) fault {
		g := b.group("a")
		db := b.postgres(g, "", "127.0.0.1", "")
		db.sql(accounts)
		db.pgbench(b.group("b"), "", "-c", clients, script)
		return fault{target: g, settle: 1500 * time.Millisecond, proof: []meter{db.waiting(waiting)}}
	}}
}

func databaseTrials() []trial {
	return []trial{
		rowTrial("just over, 2 clients", "2", "begin; update acc set v=v+1 where id=1; select pg_sleep(0.05); commit; select pg_sleep(0.03);", 0),
		rowTrial("strong, 10 clients", "10", "begin; update acc set v=v+1 where id=1; select pg_sleep(0.1); commit;", 8),
		rowTrial("short holds, 4 clients", "4", "begin; select v from acc where id=1 for update; select pg_sleep(0.01); commit;", 1),
		rowTrial("a table's lock, 4 clients", "4", "begin; lock table acc in access exclusive mode; select pg_sleep(0.06); commit;", 2),
		rowTrial("an advisory lock, 4 clients", "4", "select pg_advisory_lock(7); select pg_sleep(0.08); select pg_advisory_unlock(7);", 2),
		{name: "rows/a new session each", expect: dbLock, make: func(b *bed) fault {
			g := b.group("a")
			db := b.postgres(g, "", "127.0.0.1", "")
			db.sql(accounts)
			db.pgbench(b.group("b"), "", "-C", "-c", "4", "begin; update acc set v=v+1 where id=1; select pg_sleep(0.1); commit;")
			return fault{target: g, settle: 1500 * time.Millisecond, proof: []meter{db.waiting(2)}}
		}},
		// One session holds a row and does nothing; others come, give up after 700 ms
		// and come again, as clients with a timeout do.
		{name: "rows/held by an idle session, timeouts", expect: dbLock, make: func(b *bed) fault {
			g := b.group("a")
			db := b.postgres(g, "", "127.0.0.1", "")
			db.sql(accounts)
			db.session(b.group("c"), "begin; update acc set v=1 where id=1; select pg_sleep(600)")
			b.wait(500 * time.Millisecond)
			db.pgbench(b.group("b"), "", "-c", "3", `do $$ begin set local lock_timeout = 700; update acc set v=2 where id=1; exception when others then null; end $$;`)
			return fault{target: g, settle: 1500 * time.Millisecond, proof: []meter{db.waiting(2)}}
		}},
		// The same, and the waiting began long before the window and outlasts it.
		{name: "rows/held all the time", expect: dbLock, make: func(b *bed) fault {
			g := b.group("a")
			db := b.postgres(g, "", "127.0.0.1", "")
			db.sql(accounts)
			db.session(b.group("c"), "begin; update acc set v=1 where id=1; select pg_sleep(600)")
			b.wait(500 * time.Millisecond)
			for range 3 {
				db.session(b.group(b.name()), "update acc set v=2 where id=1")
			}
			return fault{target: g, settle: 2500 * time.Millisecond, proof: []meter{db.waiting(3)}}
		}},
		// Slow, and no lock: the server computes.
		{name: "own/postgres, a slow query", expect: busy, make: func(b *bed) fault {
			g := b.group("a")
			db := b.postgres(g, "", "127.0.0.1", "")
			db.pgbench(b.group("b"), "", "-c", "2", "select sum(i::numeric * i) from generate_series(1, 400000) i;")
			return fault{target: g, settle: time.Second, proof: []meter{groupCPU(g, 2500)}}
		}},
	}
}
