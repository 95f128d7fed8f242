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

/// With and without TLS: it takes the connection, and that is all.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for mode in ["require", "disable"] {
        let url = format!("postgres://u:p@127.0.0.1:{port}/n?sslmode={mode}");
        let connecting = Postgres::connect_within(&url, Duration::from_millis(300));
        let given_up = tokio::time::timeout(Duration::from_secs(60), connecting).await;
        let error = given_up.expect("it ends in time").err().expect("nobody let us in");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("let us not in for 300ms"), "{error}");
    }
}
