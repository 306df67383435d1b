//! `control.db`: what the operator wants and did.

use crate::{Clock, Error, Options, database};
use flotilla_contract::{
    Event, EventKind, InstanceId, Millis, ServerId,
    agent::Agent,
    command::{EventPage, EventQuery, Revision},
    state::Override,
    tool::Era,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    AssertSqlSafe, Row, SqlitePool,
    sqlite::{SqlitePoolOptions, SqliteRow},
};
use std::collections::BTreeMap;

/// Actions are kept for this long, in milliseconds: 90 days.
const ACTIONS_KEPT_MS: u64 = 90 * 24 * 3_600_000;
/// So many revisions are kept.
const REVISIONS_KEPT: u64 = 500;

/// A handle on `control.db`; clones share it. Each call answers after its commit, and dropping its future does not undo it.
#[derive(Clone)]
pub struct Control {
    /// One connection: control writes are rare and small, and so are never busy with each other.
    pool: SqlitePool,
    clock: Clock,
}

/// A state of the configuration to record.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRevision {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What it changes, each as a sentence.
    pub changes: Vec<String>,
    /// Unified diff against the one before.
    pub diff: String,
    /// SHA-256 of the text, hexadecimal.
    pub hash: String,
    /// The whole text.
    pub text: String,
}

/// The newest revision.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestRevision {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its text, hexadecimal.
    pub hash: String,
    /// Its text.
    pub text: String,
}

/// What was learned about a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerMemory {
    /// Its era, which saves the question at the next start.
    pub era: Option<Era>,
    /// The tools that were accepted, in the form the engine chose.
    pub tools: Option<serde_json::Value>,
    /// What it offers, in the form the gateway chose; only of a server on demand.
    pub offer: Option<String>,
}

/// Something an operator did, to record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewAction {
    /// On which server or instance (index 0 = the whole server), if on one.
    pub about: Option<InstanceId>,
    /// Who.
    pub actor: String,
    /// The command ("server.scale").
    pub command: String,
    /// Its parameters in short, without secrets ("fetch, 3 replicas"); may be empty.
    pub params: String,
    /// What came of it.
    pub outcome: String,
    /// Whether it reached its end.
    pub ok: bool,
    /// Joins it with log lines and events.
    pub correlation: Option<String>,
}

/// A recorded action.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its number, from 1.
    pub id: u64,
    /// When.
    pub at: Millis,
    /// What was done.
    pub action: NewAction,
}

impl From<Action> for Event {
    /// The action as `actions.read` gives it: `seq` is its number, and the command carries its parameters.
    fn from(Action { id, at, action }: Action) -> Self {
        let NewAction {
            about,
            actor,
            command,
            params,
            outcome,
            ok,
            correlation,
        } = action;
        let command = if params.is_empty() {
            command
        } else {
            format!("{command} {params}")
        };
        let (server, instance) = about.map_or((None, None), |i| {
            (Some(i.server), Some(i.index).filter(|n| *n > 0))
        });
        Self {
            seq: id,
            at,
            server,
            instance,
            correlation,
            what: EventKind::Action {
                actor,
                command,
                outcome,
                ok,
            },
        }
    }
}

impl Control {
    pub(crate) async fn open(options: &Options) -> Result<(Self, Option<String>), Error> {
        let ready = database::prepare(
            &options.home,
            "control.db",
            &sqlx::migrate!("migrations/control"),
            &options.clock,
        )
        .await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(ready.options);
        let control = Self {
            pool,
            clock: options.clock.clone(),
        };
        control.trim_actions().await?;
        Ok((control, ready.notice))
    }

    /// Writes what SQLite still holds in its log and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Every override.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn overrides(&self) -> Result<BTreeMap<ServerId, Override>, Error> {
        let rows = sqlx::query("SELECT server, running, replicas, by, at FROM overrides")
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("read the overrides"))?;
        rows.iter()
            .map(|row| {
                let wish = Override {
                    running: get(row, "running")?,
                    replicas: get(row, "replicas")?,
                    by: get(row, "by")?,
                    at: millis(row, "at")?,
                };
                Ok((server(row)?, wish))
            })
            .collect()
    }

    /// Puts an override in the place of the server's former one. One that overrides nothing is removed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_override(&self, server: &ServerId, wish: &Override) -> Result<(), Error> {
        if wish.running.is_none() && wish.replicas.is_none() {
            return self.clear_override(server).await;
        }
        sqlx::query("INSERT OR REPLACE INTO overrides (server, running, replicas, by, at) VALUES (?, ?, ?, ?, ?)")
            .bind(server.as_str())
            .bind(wish.running)
            .bind(wish.replicas)
            .bind(&wish.by)
            .bind(signed(wish.at))
            .execute(&self.pool)
            .await
            .map_err(Error::sql("store the override"))?;
        Ok(())
    }

    /// Back to what the file declares.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn clear_override(&self, server: &ServerId) -> Result<(), Error> {
        sqlx::query("DELETE FROM overrides WHERE server = ?")
            .bind(server.as_str())
            .execute(&self.pool)
            .await
            .map_err(Error::sql("clear the override"))?;
        Ok(())
    }

    /// Sets or clears many overrides in one commit; see [`set_override`](Self::set_override).
    ///
    /// # Errors
    /// When the database cannot be written; then none is changed.
    pub async fn set_overrides(
        &self,
        wishes: &[(ServerId, Option<Override>)],
    ) -> Result<(), Error> {
        let failed = || Error::sql("store the overrides");
        let mut all = self.pool.begin().await.map_err(failed())?;
        for (server, wish) in wishes {
            let kept = wish
                .as_ref()
                .filter(|w| w.running.is_some() || w.replicas.is_some());
            let query = match kept {
                Some(wish) => sqlx::query("INSERT OR REPLACE INTO overrides (server, running, replicas, by, at) VALUES (?, ?, ?, ?, ?)")
                    .bind(server.as_str())
                    .bind(wish.running)
                    .bind(wish.replicas)
                    .bind(&wish.by)
                    .bind(signed(wish.at)),
                None => sqlx::query("DELETE FROM overrides WHERE server = ?").bind(server.as_str()),
            };
            query.execute(&mut *all).await.map_err(failed())?;
        }
        all.commit().await.map_err(failed())
    }

    /// Records a revision; it gets the next number and the time. The oldest beyond 500 are dropped.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn add_revision(&self, new: NewRevision) -> Result<Revision, Error> {
        let at = (self.clock)();
        let changes = json("the changes of a revision", &new.changes)?;
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO revisions (at, by, reason, changes, diff, hash, text) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING number",
        )
        .bind(signed(at))
        .bind(&new.by)
        .bind(&new.reason)
        .bind(changes)
        .bind(&new.diff)
        .bind(&new.hash)
        .bind(&new.text)
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("record the revision"))?;
        sqlx::query("DELETE FROM revisions WHERE number <= ?")
            .bind(number - signed(REVISIONS_KEPT))
            .execute(&self.pool)
            .await
            .map_err(Error::sql("drop old revisions"))?;
        let NewRevision {
            by,
            reason,
            changes,
            diff,
            ..
        } = new;
        Ok(Revision {
            number: unsigned(number),
            at,
            by,
            reason,
            changes,
            diff,
        })
    }

    /// Revisions, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn revisions(&self, limit: u32) -> Result<Vec<Revision>, Error> {
        let rows = sqlx::query("SELECT number, at, by, reason, changes, diff FROM revisions ORDER BY number DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("read the revisions"))?;
        rows.iter()
            .map(|row| {
                Ok(Revision {
                    number: millis(row, "number")?,
                    at: millis(row, "at")?,
                    by: get(row, "by")?,
                    reason: get(row, "reason")?,
                    changes: from_json(
                        "the changes of a revision",
                        &get::<String>(row, "changes")?,
                    )?,
                    diff: get(row, "diff")?,
                })
            })
            .collect()
    }

    /// The text of a revision; `None` when there is no such revision (any more).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn revision_text(&self, number: u64) -> Result<Option<String>, Error> {
        sqlx::query_scalar("SELECT text FROM revisions WHERE number = ?")
            .bind(signed(number))
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::sql("read the revision"))
    }

    /// The newest revision; `None` before the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn latest_revision(&self) -> Result<Option<LatestRevision>, Error> {
        let row =
            sqlx::query("SELECT number, hash, text FROM revisions ORDER BY number DESC LIMIT 1")
                .fetch_optional(&self.pool)
                .await
                .map_err(Error::sql("read the latest revision"))?;
        row.map(|row| {
            Ok(LatestRevision {
                number: millis(&row, "number")?,
                hash: get(&row, "hash")?,
                text: get(&row, "text")?,
            })
        })
        .transpose()
    }

    /// Every agent, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn agents(&self) -> Result<Vec<Agent>, Error> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT agent FROM agents ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("read the agents"))?;
        // One that another version wrote is left out rather than hiding the others.
        let read = |text: &String| {
            from_json("an agent", text)
                .inspect_err(|error| tracing::warn!(%error, "agent left out"))
                .ok()
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// Stores an agent in the place of the one with its id.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_agent(&self, agent: &Agent) -> Result<(), Error> {
        sqlx::query("INSERT OR REPLACE INTO agents (id, agent) VALUES (?, ?)")
            .bind(&agent.id)
            .bind(json("an agent", agent)?)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("store the agent"))?;
        Ok(())
    }

    /// Forgets an agent.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn remove_agent(&self, id: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM agents WHERE id = ?")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("forget the agent"))?;
        Ok(())
    }

    /// What was learned about every server.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn memories(&self) -> Result<BTreeMap<ServerId, ServerMemory>, Error> {
        let rows = sqlx::query("SELECT server, era, tools, offer FROM memories")
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("read what is known about servers"))?;
        rows.iter()
            .map(|row| {
                let era = get::<Option<String>>(row, "era")?
                    .map(|text| from_json("an era", &text))
                    .transpose()?;
                let tools = get::<Option<String>>(row, "tools")?
                    .map(|text| from_json("accepted tools", &text))
                    .transpose()?;
                let offer = get(row, "offer")?;
                Ok((server(row)?, ServerMemory { era, tools, offer }))
            })
            .collect()
    }

    /// Remembers this about a server, in the place of what was remembered.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn remember(&self, server: &ServerId, memory: &ServerMemory) -> Result<(), Error> {
        sqlx::query(
            "INSERT OR REPLACE INTO memories (server, era, tools, offer) VALUES (?, ?, ?, ?)",
        )
        .bind(server.as_str())
        .bind(memory.era.map(|era| json("an era", &era)).transpose()?)
        .bind(
            memory
                .tools
                .as_ref()
                .map(|tools| json("accepted tools", tools))
                .transpose()?,
        )
        .bind(memory.offer.as_deref())
        .execute(&self.pool)
        .await
        .map_err(Error::sql("remember the server"))?;
        Ok(())
    }

    /// Forgets what was learned about a server.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget(&self, server: &ServerId) -> Result<(), Error> {
        sqlx::query("DELETE FROM memories WHERE server = ?")
            .bind(server.as_str())
            .execute(&self.pool)
            .await
            .map_err(Error::sql("forget the server"))?;
        Ok(())
    }

    /// Whether an operator has confirmed the commands of a definition, by the hash of its text.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn confirmed(&self, hash: &str) -> Result<bool, Error> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM confirmed WHERE hash = ?)")
            .bind(hash)
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("read what was confirmed"))
    }

    /// Remembers that the commands of a definition were confirmed, and by whom.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn confirm(&self, hash: &str, workflow: &str, by: &str) -> Result<(), Error> {
        sqlx::query("INSERT OR IGNORE INTO confirmed (hash, workflow, by, at) VALUES (?, ?, ?, ?)")
            .bind(hash)
            .bind(workflow)
            .bind(by)
            .bind(signed((self.clock)()))
            .execute(&self.pool)
            .await
            .map_err(Error::sql("remember what was confirmed"))?;
        Ok(())
    }

    /// Ports that listeners moved to, by the listener's name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ports(&self) -> Result<BTreeMap<String, u16>, Error> {
        let rows = sqlx::query("SELECT name, port FROM ports")
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("read the ports"))?;
        rows.iter()
            .map(|row| Ok((get(row, "name")?, get(row, "port")?)))
            .collect()
    }

    /// Remembers the port of a listener.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn remember_port(&self, name: &str, port: u16) -> Result<(), Error> {
        sqlx::query("INSERT OR REPLACE INTO ports (name, port) VALUES (?, ?)")
            .bind(name)
            .bind(port)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("remember the port"))?;
        Ok(())
    }

    /// Records actions in one commit, each with its number and the time. Those older than 90 days are dropped now and
    /// then.
    ///
    /// # Errors
    /// When the database cannot be written; then none is recorded.
    pub async fn record_actions(&self, actions: Vec<NewAction>) -> Result<Vec<Action>, Error> {
        let failed = || Error::sql("record the action");
        let at = (self.clock)();
        let mut recorded = Vec::with_capacity(actions.len());
        let mut all = self.pool.begin().await.map_err(failed())?;
        for action in actions {
            let id: i64 = sqlx::query_scalar(
                "INSERT INTO actions (at, server, instance, actor, command, params, outcome, ok, correlation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            )
            .bind(signed(at))
            .bind(action.about.as_ref().map(|i| i.server.as_str()))
            .bind(action.about.as_ref().map(|i| i.index))
            .bind(&action.actor)
            .bind(&action.command)
            .bind(&action.params)
            .bind(&action.outcome)
            .bind(action.ok)
            .bind(action.correlation.as_deref())
            .fetch_one(&mut *all)
            .await
            .map_err(failed())?;
            recorded.push(Action {
                id: unsigned(id),
                at,
                action,
            });
        }
        all.commit().await.map_err(failed())?;
        // Actions come from people: looking once in a hundred is plenty.
        if recorded.iter().any(|action| action.id % 100 == 0) {
            self.trim_actions().await?;
        }
        Ok(recorded)
    }

    /// Records one action; see [`record_actions`](Self::record_actions).
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn record_action(&self, action: NewAction) -> Result<Action, Error> {
        let recorded = self.record_actions(vec![action]).await?;
        recorded
            .into_iter()
            .next()
            .ok_or_else(|| Error::sql("record the action")(sqlx::Error::RowNotFound))
    }

    /// Actions as events, newest first; `seq` is the action's number. `kinds` matches commands.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn actions(&self, query: &EventQuery) -> Result<EventPage, Error> {
        let limit = page_size(query);
        let mut sql = String::from(
            "SELECT id, at, server, instance, actor, command, params, outcome, ok, correlation FROM actions WHERE id < ?",
        );
        if query.server.is_some() {
            sql.push_str(" AND server = ?");
        }
        sql.push_str(&one_of("command", query.kinds.len()));
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        // The text is made of constants and placeholders alone.
        let mut statement =
            sqlx::query(AssertSqlSafe(sql)).bind(query.before.map_or(i64::MAX, signed));
        if let Some(server) = &query.server {
            statement = statement.bind(server.as_str());
        }
        for kind in &query.kinds {
            statement = statement.bind(kind);
        }
        let mut rows = statement
            .bind(limit + 1)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("read the actions"))?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let events = rows
            .iter()
            .map(|row| action(row).map(Event::from))
            .collect::<Result<_, _>>()?;
        Ok(EventPage { events, more })
    }

    async fn trim_actions(&self) -> Result<(), Error> {
        sqlx::query("DELETE FROM actions WHERE at < ?")
            .bind(signed((self.clock)().saturating_sub(ACTIONS_KEPT_MS)))
            .execute(&self.pool)
            .await
            .map_err(Error::sql("drop old actions"))?;
        Ok(())
    }
}

fn action(row: &SqliteRow) -> Result<Action, Error> {
    let about = match get::<Option<String>>(row, "server")? {
        Some(_) => Some(InstanceId {
            server: server(row)?,
            index: get::<Option<u32>>(row, "instance")?.unwrap_or(0),
        }),
        None => None,
    };
    Ok(Action {
        id: millis(row, "id")?,
        at: millis(row, "at")?,
        action: NewAction {
            about,
            actor: get(row, "actor")?,
            command: get(row, "command")?,
            params: get(row, "params")?,
            outcome: get(row, "outcome")?,
            ok: get(row, "ok")?,
            correlation: get(row, "correlation")?,
        },
    })
}

/// ` AND COLUMN IN (?, …)`, or nothing for no values.
pub(crate) fn one_of(column: &str, values: usize) -> String {
    if values == 0 {
        String::new()
    } else {
        format!(" AND {column} IN ({})", vec!["?"; values].join(", "))
    }
}

/// How many events a page holds: what was asked for within 1 and 1,000, otherwise 100.
pub(crate) fn page_size(query: &EventQuery) -> u32 {
    query.limit.unwrap_or(100).clamp(1, 1_000)
}

pub(crate) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| Error::Value {
        what: column,
        error: error.to_string(),
    })
}

pub(crate) fn millis(row: &SqliteRow, column: &'static str) -> Result<u64, Error> {
    get::<i64>(row, column).map(unsigned)
}

fn server(row: &SqliteRow) -> Result<ServerId, Error> {
    get::<String>(row, "server")?
        .parse()
        .map_err(|error| Error::Value {
            what: "a server's name",
            error: format!("{error}"),
        })
}

/// SQLite's integers are signed; ours never reach the difference.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::value(what))
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(Error::value(what))
}
