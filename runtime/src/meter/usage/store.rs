//! Reads and writes usage in the database: one row for each app, group and hour.
//!
//! SQLite's integers have 63 bits for each number of a row. That is enough: an hour of MB × ms would need 2,562,047,788,015 MB of
//! instances, and executions 2,562,047,788,015,215 a second.

use rusqlite::{Connection, Row, Transaction, params};

use crate::limits;
use crate::meter::usage::hours::Hour;
use crate::meter::usage::{Amounts, UsageRow};
use crate::names::{AppName, NameError};

/// Adds `rows` to what is stored, all of them or, with an error, none.
pub fn add(transaction: &Transaction<'_>, rows: &[UsageRow]) -> rusqlite::Result<()> {
    let statement = "INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (app, grp, hour) DO UPDATE SET
             executions = executions + ?4,
             on_demand_mb_ms = on_demand_mb_ms + ?5,
             always_ready_baseline_mb_ms = always_ready_baseline_mb_ms + ?6,
             always_ready_execution_mb_ms = always_ready_execution_mb_ms + ?7";
    let mut statement = transaction.prepare_cached(statement)?;
    rows.iter().try_for_each(|UsageRow { app, group, hour, amounts }| {
        let parameters = params![
            app.as_str(),
            group,
            hour.0,
            amounts.executions as i64,
            amounts.on_demand_mb_ms as i64,
            amounts.always_ready_baseline_mb_ms as i64,
            amounts.always_ready_execution_mb_ms as i64,
        ];
        statement.execute(parameters).map(drop)
    })
}

/// What the groups of `app` used in each hour from `from` on, in the order of group and hour.
pub fn hours_of(connection: &Connection, app: &AppName, from: Hour) -> rusqlite::Result<Vec<UsageRow>> {
    let query = "SELECT app, grp, hour, executions, on_demand_mb_ms, always_ready_baseline_mb_ms,
                     always_ready_execution_mb_ms
                 FROM usage WHERE app = ?1 AND hour >= ?2 ORDER BY app, grp, hour";
    connection.prepare_cached(query)?.query_map(params![app.as_str(), from.0], usage_row)?.collect()
}

/// What the groups of `app`, or of all apps, used from the hour `from` on, in the order of app and group. The hour of each
/// is the first in which it used something.
pub fn sums(connection: &Connection, app: Option<&AppName>, from: Hour) -> rusqlite::Result<Vec<UsageRow>> {
    let condition = if app.is_some() { "app = ?2" } else { "?2 IS NULL" };
    let query = format!(
        "SELECT app, grp, MIN(hour), SUM(executions), SUM(on_demand_mb_ms), SUM(always_ready_baseline_mb_ms),
             SUM(always_ready_execution_mb_ms)
         FROM usage WHERE hour >= ?1 AND {condition} GROUP BY app, grp ORDER BY app, grp"
    );
    let parameters = params![from.0, app.map(AppName::as_str)];
    connection.prepare_cached(&query)?.query_map(parameters, usage_row)?.collect()
}

/// Deletes what is older than [`limits::USAGE_DAYS_KEPT`]; `now` is the present hour.
pub fn drop_old(transaction: &Transaction<'_>, now: Hour) -> rusqlite::Result<()> {
    let oldest = now.days_before(limits::USAGE_DAYS_KEPT);
    transaction.prepare_cached("DELETE FROM usage WHERE hour < ?1")?.execute([oldest.0]).map(drop)
}

fn usage_row(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    let number = |column: usize| row.get::<_, i64>(column).map(|number| number as u64);
    let app = row.get::<_, String>(0)?.try_into().map_err(|error: NameError| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })?;
    let amounts = Amounts {
        executions: number(3)?,
        on_demand_mb_ms: number(4)?,
        always_ready_baseline_mb_ms: number(5)?,
        always_ready_execution_mb_ms: number(6)?,
    };
    Ok(UsageRow { app, group: row.get(1)?, hour: Hour(row.get(2)?), amounts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::schema::USAGE;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(USAGE).unwrap();
        connection
    }

    fn add_and_commit(connection: &mut Connection, rows: &[UsageRow]) {
        let transaction = connection.transaction().unwrap();
        add(&transaction, rows).unwrap();
        transaction.commit().unwrap();
    }

    fn all(connection: &Connection) -> Vec<UsageRow> {
        let apps = ["a", "b"].map(|app| AppName::new(app).unwrap());
        apps.iter().flat_map(|app| hours_of(connection, app, Hour(0)).unwrap()).collect()
    }

    fn row(app: &str, group: &str, hour: u32, first: u64) -> UsageRow {
        let amounts = Amounts {
            executions: first,
            on_demand_mb_ms: first + 1,
            always_ready_baseline_mb_ms: first + 2,
            always_ready_execution_mb_ms: first + 3,
        };
        UsageRow { app: AppName::new(app).unwrap(), group: group.to_owned(), hour: Hour(hour), amounts }
    }

    #[test]
    fn rows_of_one_app_group_and_hour_add_up() {
        let mut connection = database();
        let rows = [row("a", "function:f", 5, 7), row("a", "http", 4, 10), row("b", "http", 5, 20)];
        add_and_commit(&mut connection, &rows);
        assert_eq!(all(&connection), rows);
        add_and_commit(&mut connection, &[row("a", "http", 4, 100), row("a", "http", 5, 1)]);
        let mut sum = row("a", "http", 4, 10);
        sum.amounts += row("a", "http", 4, 100).amounts;
        let both = [rows[0].clone(), sum, row("a", "http", 5, 1), rows[2].clone()];
        assert_eq!(all(&connection), both);
    }

    #[test]
    fn usage_is_found_by_app_and_from_an_hour_on() {
        let mut connection = database();
        add_and_commit(
            &mut connection,
            &[row("a", "http", 4, 1), row("a", "http", 5, 2), row("b", "http", 5, 3)],
        );
        let a = AppName::new("a").unwrap();
        let executions = |rows: Vec<UsageRow>| -> Vec<u64> {
            rows.into_iter().map(|row| row.amounts.executions).collect()
        };
        let summed = |app: Option<&AppName>, hour| executions(sums(&connection, app, Hour(hour)).unwrap());
        let hourly = |hour| executions(hours_of(&connection, &a, Hour(hour)).unwrap());
        assert_eq!((summed(None, 4), summed(None, 5), summed(None, 6)), (vec![3, 3], vec![2, 3], vec![]));
        assert_eq!((summed(Some(&a), 4), summed(Some(&a), 5)), (vec![3], vec![2]));
        assert_eq!((hourly(4), hourly(5), hourly(6)), (vec![1, 2], vec![2], vec![]));
    }

    #[test]
    fn hours_are_kept_for_400_days() {
        let mut connection = database();
        let now = Hour(1_000_000);
        let oldest = now.0 - 400 * 24;
        add_and_commit(&mut connection, &[row("a", "http", oldest - 1, 1), row("a", "http", oldest, 2)]);
        let transaction = connection.transaction().unwrap();
        drop_old(&transaction, now).unwrap();
        transaction.commit().unwrap();
        assert_eq!(all(&connection), [row("a", "http", oldest, 2)]);
    }

    #[test]
    fn both_ways_to_look_use_an_index() {
        let connection = database();
        for (condition, index) in
            [("app = 'a' AND hour >= 5", "PRIMARY KEY (app=?"), ("hour >= 5", "usage_hour (hour>?")]
        {
            let query = format!("EXPLAIN QUERY PLAN SELECT * FROM usage WHERE {condition}");
            let plan: String = connection.query_row(&query, [], |row| row.get(3)).unwrap();
            assert!(plan.contains(index), "{plan}");
        }
    }
}
