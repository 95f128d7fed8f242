//! Statements, and both databases asked the same.

use super::*;

#[test]
fn names_become_numbers_where_they_are_parameters() {
    let rows = [
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", "SELECT ?1, ?2, ?1"),
        (
            "SELECT ':a' || \":b\" -- :c\n || :d::text",
            "SELECT ':a' || \":b\" -- :c\n || $1::text",
            "",
        ),
        (
            "/* :x */ SELECT $$ :y $$, $t$ :z $t$, :w",
            "/* :x */ SELECT $$ :y $$, $t$ :z $t$, $1",
            "",
        ),
        ("SELECT a[1:2], ':it''s :b', :c", "SELECT a[1:2], ':it''s :b', $1", ""),
        ("SELECT 'ü', :ü, :", "SELECT 'ü', :ü, :", ""),
    ];
    for (sql, postgres, sqlite) in rows {
        assert_eq!(Statement::new(Kind::Postgres, "s", sql).sql, postgres);
        if !sqlite.is_empty() {
            assert_eq!(Statement::new(Kind::Sqlite, "s", sql).sql, sqlite);
        }
    }
    let statement = Statement::new(Kind::Sqlite, "s", "SELECT :a + :b");
    assert_eq!(statement.params, ["a", "b"]);
    let error = statement.values(&[("a", Value::Null)]).unwrap_err();
    assert_eq!(error.to_string(), "s: there is no parameter :b; there are :a");
}
