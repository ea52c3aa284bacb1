//! Both stores have the same tables, columns and indexes, made by migrations of the same names, so that whoever knows
//! one knows the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::files;

/// Indexes that SQLite could have and has no use for, each with the reason.
const ONLY_POSTGRES: &[(&str, &str)] = &[(
    "jobs_pending",
    "only PostgreSQL's recount goes over all tenants at once; SQLite's asks jobs_by_state",
)];

#[derive(Debug, Default, PartialEq, Eq)]
struct Schema {
    /// Columns in their order.
    tables: BTreeMap<String, Vec<String>>,
    /// Name, and what it is on as far as both dialects say it alike: the table.
    indexes: BTreeMap<String, Index>,
}

#[derive(Debug, PartialEq, Eq)]
struct Index {
    table: String,
    /// Of a kind that SQLite does not have.
    is_foreign: bool,
}

fn names(store: &str) -> BTreeSet<String> {
    let folder = Path::new("migrations").join(store);
    let names: BTreeSet<String> = files::with_extension("sql")
        .into_iter()
        .filter(|path| path.parent() == Some(&folder))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(!names.is_empty(), "no migrations in {}", folder.display());
    names
}

/// The schema that a store's migrations make.
fn schema(store: &str) -> Schema {
    let mut schema = Schema::default();
    for name in names(store) {
        let sql = files::text(&Path::new("migrations").join(store).join(name));
        schema.read(&sql);
    }
    assert!(
        schema.tables.contains_key("jobs"),
        "no table of jobs in {schema:?}"
    );
    schema
}

impl Schema {
    fn read(&mut self, sql: &str) {
        for statement in statements(sql) {
            let words: Vec<&str> = statement.split_whitespace().collect();
            match words.as_slice() {
                ["CREATE", "TABLE", table, ..] => {
                    self.tables.insert((*table).to_owned(), columns(&statement));
                }
                ["CREATE", "INDEX", name, "ON", table, rest @ ..]
                | ["CREATE", "UNIQUE", "INDEX", name, "ON", table, rest @ ..] => {
                    let index = Index {
                        table: (*table).to_owned(),
                        is_foreign: rest.first() == Some(&"USING"),
                    };
                    self.indexes.insert((*name).to_owned(), index);
                }
                ["ALTER", "TABLE", table, clauses @ ..] => {
                    let columns = self.tables.get_mut(*table).expect("the table exists");
                    for clause in parts(&clauses.join(" ")) {
                        match clause.split_whitespace().collect::<Vec<_>>().as_slice() {
                            ["ADD", "COLUMN", column, ..] => columns.push((*column).to_owned()),
                            ["DROP", "COLUMN", column, ..] => {
                                columns.retain(|other| other != column);
                            }
                            _ => {}
                        }
                    }
                }
                ["DROP", "TABLE", table] => {
                    self.tables.remove(*table);
                }
                ["DROP", "INDEX", name] => {
                    self.indexes.remove(*name);
                }
                _ => {}
            }
        }
    }
}

/// Statements without comments. Bodies of functions do not matter here: they create nothing.
fn statements(sql: &str) -> Vec<String> {
    let without_comments: Vec<&str> = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect();
    let text = without_comments.join("\n");
    text.split(';')
        .map(|statement| statement.trim().to_owned())
        .collect()
}

/// Splits at commas that stand in no parentheses; what follows a closing one that was not opened is left out.
fn parts(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        parts.last_mut().unwrap().push(c);
    }
    parts
}

/// The columns of a CREATE TABLE: the first word of each part between the outermost parentheses, constraints aside.
fn columns(statement: &str) -> Vec<String> {
    let body = statement.split_once('(').map_or("", |(_, body)| body);
    let constraints = [
        "PRIMARY",
        "UNIQUE",
        "FOREIGN",
        "CHECK",
        "CONSTRAINT",
        "EXCLUDE",
    ];
    parts(body)
        .iter()
        .filter_map(|part| part.split_whitespace().next())
        .filter(|word| !constraints.contains(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn both_stores_have_migrations_of_the_same_names() {
    assert_eq!(names("postgres"), names("sqlite"));
}

#[test]
fn both_stores_have_the_same_tables_and_columns() {
    let (postgres, sqlite) = (schema("postgres"), schema("sqlite"));
    let tables = |schema: &Schema| schema.tables.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(tables(&postgres), tables(&sqlite));
    for (table, columns) in &postgres.tables {
        assert_eq!(columns, &sqlite.tables[table], "columns of {table}");
    }
}

#[test]
fn both_stores_have_the_same_indexes_where_both_can() {
    let (postgres, sqlite) = (schema("postgres"), schema("sqlite"));
    assert!(!sqlite.indexes.is_empty());
    for (name, index) in &sqlite.indexes {
        let twin = postgres.indexes.get(name).map(|index| &index.table);
        assert_eq!(twin, Some(&index.table), "PostgreSQL has no index {name}");
    }
    let only_there: BTreeSet<&str> = postgres
        .indexes
        .iter()
        .filter(|(name, index)| !index.is_foreign && !sqlite.indexes.contains_key(*name))
        .map(|(name, _)| name.as_str())
        .collect();
    let known: BTreeSet<&str> = ONLY_POSTGRES.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        only_there, known,
        "SQLite has no such indexes; make them, or say here why not"
    );
}

#[test]
fn sql_is_understood() {
    let mut schema = Schema::default();
    schema.read(
        "-- CREATE TABLE no (x int);
         CREATE TABLE a (id uuid PRIMARY KEY, -- with, a comment
             n numeric(3, 2) CHECK (n > 0), PRIMARY KEY (id, n)) STRICT;
         CREATE INDEX a_n ON a (n) WHERE n > 1;
         CREATE INDEX a_g ON a USING gin (n);
         ALTER TABLE a ADD COLUMN late text;
         ALTER TABLE a DROP COLUMN n, ADD COLUMN later numeric(3, 2), ADD COLUMN last text DEFAULT (1, 2);",
    );
    assert_eq!(schema.tables["a"], ["id", "late", "later", "last"]);
    assert_eq!(schema.tables.len(), 1);
    assert_eq!(schema.indexes["a_n"].table, "a");
    assert!(schema.indexes["a_g"].is_foreign && !schema.indexes["a_n"].is_foreign);
}

#[test]
fn every_migration_is_compiled_into_its_store() {
    for store in ["postgres", "sqlite"] {
        let source = files::text(Path::new(&format!(
            "shared/adapters/{store}/src/migrate.rs"
        )));
        for name in names(store) {
            let included = format!("migrations/{store}/{name}");
            assert!(
                source.contains(&included),
                "{store}'s migrate.rs leaves out {name}"
            );
        }
    }
}
