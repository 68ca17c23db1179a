/* A database that SQLite finds whole and whose values are anything: cells are replaced, and a daemon is
 * started on it.  Each change is a byte that says which column of all tables, one that says which rows, one
 * that says what kind of value, and a value up to the next line end. */
#include "store.h"

#include <sqlite3.h>

#define COLUMNS_MAX 128

static struct {
    char table[32], name[32];
} columns[COLUMNS_MAX];
static size_t n_columns;

/* SQLite lets a column that is NOT NULL or a key be anything else than that. */
static void find_columns(sqlite3 *db)
{
    sqlite3_stmt *s;

    MUST(!sqlite3_prepare_v2(db,
                             "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c "
                             "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY 1, c.cid",
                             -1, &s, NULL),
         "%s", sqlite3_errmsg(db));
    while (sqlite3_step(s) == SQLITE_ROW && n_columns < COLUMNS_MAX) {
        snprintf(columns[n_columns].table, 32, "%s", sqlite3_column_text(s, 0));
        snprintf(columns[n_columns++].name, 32, "%s", sqlite3_column_text(s, 1));
    }
    sqlite3_finalize(s);
    MUST(n_columns > 40, "%zu columns", n_columns);
}

static sqlite3 *open_whole(void)
{
    char path[PATH_MAX];
    sqlite3 *db;

    for (size_t f = 0; f < STORE_FILES; f++)
        store_write(f, made.bytes[f], made.len[f]);
    store_path("greedylr.db", path);
    MUST(!sqlite3_open(path, &db), "%s", sqlite3_errmsg(db));
    return db;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    store_make("rows");
    atexit(store_remove);
    sqlite3 *db = open_whole();
    find_columns(db);
    sqlite3_close(db);
    return 0;
}

static void bind(sqlite3_stmt *s, uint8_t kind, const char *value, size_t len)
{
    double number = 0;
    int64_t whole = 0;

    memcpy(&number, value, len < 8 ? len : 8);
    memcpy(&whole, value, len < 8 ? len : 8);
    switch (kind % 6) {
    case 0: sqlite3_bind_null(s, 1); break;
    case 1: sqlite3_bind_int64(s, 1, whole); break;
    case 2: sqlite3_bind_double(s, 1, number); break;
    case 3: sqlite3_bind_text(s, 1, value, (int)len, SQLITE_STATIC); break;
    case 4: sqlite3_bind_blob(s, 1, value, (int)len, SQLITE_STATIC); break;
    default: sqlite3_bind_int64(s, 1, atoll(value));
    }
}

static void replace(sqlite3 *db, struct input *in)
{
    uint8_t column = take_u8(in) % n_columns, rows = take_u8(in), kind = take_u8(in);
    char sql[256];
    sqlite3_stmt *s;
    size_t len;
    char *value = take_until(in, '\n', &len);
    const char *key = !strcmp(columns[column].table, "decision") || !strcmp(columns[column].table, "log") ||
                              !strcmp(columns[column].table, "settings")
                          ? "revision"
                          : "1";

    snprintf(sql, sizeof(sql), "UPDATE OR IGNORE %s SET %s = ? WHERE %s %% %d = %d", columns[column].table,
             columns[column].name, key, *key == '1' ? 1 : 1 + rows % 8,
             *key == '1' ? 0 : rows % (1 + rows % 8));
    if (!sqlite3_prepare_v2(db, sql, -1, &s, NULL)) {
        bind(s, kind, value, len);
        (void)sqlite3_step(s);
        sqlite3_finalize(s);
    }
    free(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    sqlite3 *db = open_whole();

    sqlite3_exec(db, "PRAGMA synchronous=OFF", NULL, NULL, NULL);
    for (int i = 0; in.left && i < 4; i++)
        replace(db, &in);
    sqlite3_close(db);
    store_use();
    return 0;
}
