package postgres

import "fmt"

// typeNames are the LockTagTypes in order, as pg_locks has them
// (src/backend/utils/adt/lockfuncs.c). Those up to advisory are the same in 12 to
// 17; 16 added applytransaction at the end.
var typeNames = []string{
	"relation", "extend", "frozenid", "page", "tuple", "transactionid", "virtualxid",
	"spectoken", "object", "userlock", "advisory", "applytransaction",
}

// Types with a meaning of their own here.
const (
	typeRelation      = 0
	typeExtend        = 1
	typePage          = 3
	typeTuple         = 4
	typeTransactionID = 5
	typeVirtualXID    = 6
	typeObject        = 8
	typeAdvisory      = 10
	lastType          = 11
)

// TypeName is the lock's type as in pg_locks.locktype.
func (l Lock) TypeName() string {
	if int(l.Type) < len(typeNames) {
		return typeNames[l.Type]
	}
	return fmt.Sprintf("type %d", l.Type)
}

var modeNames = []string{
	"", "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock",
	"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
}

// ModeName is the mode as in pg_locks.mode.
func (l Lock) ModeName() string {
	if l.Mode > 0 && int(l.Mode) < len(modeNames) {
		return modeNames[l.Mode]
	}
	return fmt.Sprintf("mode %d", l.Mode)
}

// Object says which one it is: "relation 16384 of database 5".
func (l Lock) Object() string {
	switch l.Type {
	case typeRelation, typeExtend, typePage, typeTuple:
		return fmt.Sprintf("relation %d of database %d", l.Relation, l.Database)
	case typeTransactionID:
		return fmt.Sprintf("transaction %d", l.Field1)
	case typeVirtualXID:
		return fmt.Sprintf("virtual transaction %d/%d", l.Field1, l.Field2)
	case typeObject:
		return fmt.Sprintf("object %d of class %d in database %d", l.Field3, l.Field2, l.Field1)
	case typeAdvisory:
		// SET_LOCKTAG_ADVISORY: one key of 64 bits is split into fields 2 and 3, field 4 is 1.
		if l.Field4 == 1 {
			return fmt.Sprintf("key %d", int64(uint64(l.Field2)<<32|uint64(l.Field3)))
		}
		return fmt.Sprintf("keys %d and %d", int32(l.Field2), int32(l.Field3))
	}
	return fmt.Sprintf("%d/%d/%d", l.Field1, l.Field2, l.Field3)
}

// conflicts is LockConflicts of src/backend/storage/lmgr/lock.c: for each mode the
// modes (bits) that it does not go together with. The same since PostgreSQL 7.
var conflicts = [9]uint32{
	1: 1 << 8,
	2: 1<<7 | 1<<8,
	3: 1<<5 | 1<<6 | 1<<7 | 1<<8,
	4: 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8,
	5: 1<<3 | 1<<4 | 1<<6 | 1<<7 | 1<<8,
	6: 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8,
	7: 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8,
	8: 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8,
}

func newLock(t postgresTag, mode uint8) Lock {
	l := Lock{Type: t.Type, Mode: mode, Field1: t.Field1, Field2: t.Field2, Field3: t.Field3, Field4: t.Field4}
	switch t.Type {
	case typeRelation, typeExtend, typePage, typeTuple:
		l.Database, l.Relation = t.Field1, t.Field2
	case typeObject, typeAdvisory:
		l.Database = t.Field1
	}
	return l
}
