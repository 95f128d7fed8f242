//! The connection to Redis: made when it is needed, made anew when it broke, with a time-out on every
//! call; and what Redis says, told as the bus's errors.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onsale_tls::redis as tls;
use redis::aio::MultiplexedConnection;
use redis::{
    Cmd, ConnectionInfo, ErrorKind, FromRedisValue as _, Pipeline, RedisError, Script,
    ServerErrorKind, Value,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::RedisOptions;
use super::scripts;
use crate::Error;

/// How often a node of a cluster leads to another one before it is given up.
const REDIRECTS_MAX: usize = 5;
/// The pause before something is asked again that the cluster gives to another node.
const PAUSE: Duration = Duration::from_millis(20);

/// What is asked of Redis: a script with its keys and arguments.
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a [String],
    /// Adds the arguments that follow the two of every script.
    pub(super) arguments: &'a (dyn Fn(&mut Cmd) + Sync),
    /// Said in errors.
    pub(super) what: &'static str,
    /// Whether it may be asked twice; if not, one that broke off has perhaps happened.
    pub(super) twice: bool,
}

/// A connection that is shared by all clones of a bus.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    /// The first that takes writes is asked.
    infos: Vec<ConnectionInfo>,
    /// Where they are, without a password.
    place: String,
    /// The hash tag that all keys share, where they do: then it may be a cluster.
    tag: Option<String>,
    timeout: Duration,
    connected: std::sync::Mutex<Option<Arc<Connected>>>,
    /// Held while a connection is made.
    connecting: Mutex<()>,
    closed: AtomicBool,
}

struct Connected {
    connection: MultiplexedConnection,
    /// Another one after each start of the server.
    run: String,
    /// Whether the server promises to keep all that it has acknowledged.
    keeps: bool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.place)
    }
}

impl Link {
    pub(super) fn new(options: &RedisOptions) -> Result<Link, Error> {
        // It may have a password in it, wherever that stands.
        let scheme: String =
            options.url.split(':').next().unwrap_or_default().chars().take(16).collect();
        let rule = "redis://[user][:password@]host[:port][/database], or rediss://… for TLS";
        let infos = tls::parse_all(&options.url);
        let infos = infos.map_err(|_| Error::Invalid { field: "url", value: scheme, rule })?;
        let places: Vec<String> = infos.iter().map(|info| info.addr().to_string()).collect();
        let place = format!("Redis at {}", places.join(", "));
        Ok(Link(Arc::new(Inner {
            infos,
            place,
            tag: tag_of(&options.prefix).map(str::to_owned),
            timeout: options.timeout,
            connected: std::sync::Mutex::default(),
            connecting: Mutex::default(),
            closed: AtomicBool::new(false),
        })))
    }

    /// Makes the connection, if there is none.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.connected().await.map(|_| ())
    }

    pub(super) async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.present().take();
    }

    fn present(&self) -> MutexGuard<'_, Option<Arc<Connected>>> {
        self.0.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Runs one script.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Reply, Error> {
        let begin = Instant::now();
        for attempt in 0.. {
            let connected = self.connected().await?;
            let command = connected.command(call);
            let error = match connected.connection.clone().send_packed_command(&command).await {
                Ok(value) => match unpacked(value) {
                    Ok(reply) => return Ok(reply),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !self.may_go_on(&error, &connected, call.twice, (attempt, begin)).await {
                return Err(self.told(&error, call, begin));
            }
        }
        unreachable!("it is not tried for ever")
    }

    /// Runs several scripts in one go, in their order; each runs, whatever the one before it said. All of
    /// them may be asked twice.
    pub(super) async fn call_all(&self, calls: &[Call<'_>]) -> Result<Vec<Reply>, Error> {
        let Some(first) = calls.first() else { return Ok(Vec::new()) };
        let begin = Instant::now();
        for attempt in 0.. {
            let connected = self.connected().await?;
            let mut pipeline = Pipeline::with_capacity(calls.len());
            for call in calls {
                pipeline.add_command(connected.command(call));
            }
            let mut connection = connected.connection.clone();
            let sent = connection.send_packed_commands(&pipeline, 0, calls.len()).await;
            let replies = sent.and_then(|values| values.into_iter().map(unpacked).collect());
            match replies {
                Ok(replies) => return Ok(replies),
                Err(error) if !self.may_go_on(&error, &connected, true, (attempt, begin)).await => {
                    return Err(self.told(&error, first, begin));
                }
                Err(_) => {}
            }
        }
        unreachable!("it is not tried for ever")
    }

    /// Runs a plain command, which may be asked twice.
    pub(super) async fn command(&self, command: &Cmd, what: &'static str) -> Result<Value, Error> {
        let begin = Instant::now();
        for attempt in 0.. {
            let connected = self.connected().await?;
            let error = match connected.connection.clone().send_packed_command(command).await {
                Ok(Value::ServerError(error)) => error.into(),
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !self.may_go_on(&error, &connected, true, (attempt, begin)).await {
                return Err(self.explained(&error, what, begin));
            }
        }
        unreachable!("it is not tried for ever")
    }

    /// Runs plain commands in one go.
    pub(super) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        commands: usize,
        what: &'static str,
    ) -> Result<(), Error> {
        let begin = Instant::now();
        let mut connection = self.connected().await?.connection.clone();
        let values = connection.send_packed_commands(pipeline, 0, commands).await;
        let values = values.map_err(|error| self.explained(&error, what, begin))?;
        for value in values {
            if let Value::ServerError(error) = value {
                return Err(self.explained(&error.into(), what, begin));
            }
        }
        Ok(())
    }

    /// Whether to ask again; a connection that is of no use any more is let go.
    async fn may_go_on(
        &self,
        error: &RedisError,
        connected: &Arc<Connected>,
        twice: bool,
        (attempt, begin): (usize, Instant),
    ) -> bool {
        if is_moving(error) {
            // Nothing was carried out: the cluster gives the slot to another node, or has done so.
            self.leave(connected);
            tokio::time::sleep(PAUSE).await;
            return begin.elapsed() < self.0.timeout;
        }
        if attempt > 0 {
            return false;
        }
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
            // Somebody made Redis forget its scripts. Nothing was carried out.
            let mut connection = connected.connection.clone();
            return scripts::load(&mut connection).await.is_ok();
        }
        // A server that became a replica, or that is gone, is asked for anew.
        let is_stale = error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        if is_stale {
            self.leave(connected);
        }
        twice && is_stale && !error.is_timeout()
    }

    fn leave(&self, connected: &Arc<Connected>) {
        let mut present = self.present();
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, connected)) {
            *present = None;
        }
    }

    async fn connected(&self) -> Result<Arc<Connected>, Error> {
        if self.is_closed() {
            let why = "the bus is closed".to_owned();
            return Err(Error::Unavailable { what: self.0.place.clone(), why });
        }
        if let Some(connected) = self.present().clone() {
            return Ok(connected);
        }
        // On a task of its own: a caller that is not polled for a while must not keep the others from connecting.
        let link = self.clone();
        let made = tokio::spawn(async move { link.connect_once().await }).await;
        made.unwrap_or_else(|error| {
            Err(Error::Unavailable { what: self.0.place.clone(), why: error.to_string() })
        })
    }

    /// Makes the connection, unless another has made it meanwhile.
    async fn connect_once(&self) -> Result<Arc<Connected>, Error> {
        let _one = self.0.connecting.lock().await;
        if let Some(connected) = self.present().clone() {
            return Ok(connected);
        }
        let begin = Instant::now();
        let mut last = self.timed_out("connect", begin);
        for info in &self.0.infos {
            match timeout(self.0.timeout * 2, self.connect(info)).await {
                Ok(Ok(connected)) => return Ok(self.keep(connected)),
                Ok(Err(error)) => last = error,
                Err(_) => last = self.timed_out("connect", begin),
            }
        }
        Err(last)
    }

    fn keep(&self, connected: Connected) -> Arc<Connected> {
        let connected = Arc::new(connected);
        if !self.is_closed() {
            *self.present() = Some(connected.clone());
        }
        connected
    }

    /// Connects to the server at an address; where it is a node of a cluster, to the one that has the keys.
    async fn connect(&self, info: &ConnectionInfo) -> Result<Connected, Error> {
        let mut info = info.clone();
        for _ in 0..REDIRECTS_MAX {
            let begin = Instant::now();
            let failed = |error: RedisError| self.explained(&error, "connect", begin);
            let connection = tls::connect(&info, self.0.timeout, self.0.timeout).await;
            let mut connection = connection.map_err(failed)?;
            let Some(tag) = &self.0.tag else { return self.join(connection).await };
            let asked = redis::cmd("EXISTS").arg(tag).query_async::<u8>(&mut connection).await;
            match asked {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
                    let place = error.redirect_node().map_or("", |(place, _)| place);
                    let odd = || Error::Unavailable {
                        what: self.0.place.clone(),
                        why: format!("a node leads to {place:?}, which must be host:port"),
                    };
                    info = tls::at_place(info, place).ok_or_else(odd)?;
                }
                // One that gives the keys away has them, or some of them, still.
                Err(error) if is_moving(&error) => return self.join(connection).await,
                asked => {
                    asked.map_err(failed)?;
                    return self.join(connection).await;
                }
            }
        }
        let why = "the cluster leads nowhere".to_owned();
        Err(Error::Unavailable { what: self.0.place.clone(), why })
    }

    /// Finds out what a server is like.
    async fn join(&self, mut connection: MultiplexedConnection) -> Result<Connected, Error> {
        let begin = Instant::now();
        let failed = |error: RedisError| self.explained(&error, "connect", begin);
        let mut told = String::new();
        for section in ["server", "replication", "memory"] {
            let info: RedisResultText =
                redis::cmd("INFO").arg(section).query_async(&mut connection).await;
            told += &info.map_err(failed)?;
        }
        if field(&told, "role") != "master" {
            let why = "it is a read-only replica: give the address of its primary".to_owned();
            return Err(Error::Refused { what: self.0.place.clone(), why });
        }
        if field(&told, "redis_mode") == "cluster" && self.0.tag.is_none() {
            let why = "it is a node of a cluster, over which the keys of a bus would be spread: give the address of \
                       a Redis by itself"
                .to_owned();
            return Err(Error::Refused { what: self.0.place.clone(), why });
        }
        if field(&told, "maxmemory") != "0" && field(&told, "maxmemory_policy").starts_with("all") {
            tracing::warn!(
                "{} throws away what it likes when its memory is full: set maxmemory-policy to noeviction",
                self.0.place
            );
        }
        let mut keeps = field(&told, "master_replid2").bytes().all(|byte| byte == b'0');
        for (setting, wanted) in [("appendonly", "yes"), ("appendfsync", "always")] {
            let mut ask = redis::cmd("CONFIG");
            ask.arg("GET").arg(setting);
            // Where that is forbidden there is no promise.
            let found = ask.query_async::<Vec<String>>(&mut connection).await.unwrap_or_default();
            keeps &= found.get(1).is_some_and(|value| value == wanted);
        }
        scripts::load(&mut connection).await.map_err(failed)?;
        Ok(Connected { connection, run: field(&told, "run_id").to_owned(), keeps })
    }

    fn told(&self, error: &RedisError, call: &Call<'_>, begin: Instant) -> Error {
        let broke_off = error.is_io_error() || error.is_connection_dropped();
        if broke_off && !call.twice {
            return self.timed_out(call.what, begin);
        }
        self.explained(error, call.what, begin)
    }

    fn timed_out(&self, what: &str, begin: Instant) -> Error {
        let after_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Error::TimedOut { what: format!("{}: {what}", self.0.place), after_ms }
    }

    fn explained(&self, error: &RedisError, what: &str, begin: Instant) -> Error {
        if error.is_timeout() {
            return self.timed_out(what, begin);
        }
        let text = error.to_string();
        let place = self.0.place.clone();
        let what = format!("{place}: {what}");
        let code = error.code().unwrap_or_default();
        let refused = |why: String| Error::Refused { what: place.clone(), why };
        let unavailable = |why: String| Error::Unavailable { what: place.clone(), why };
        match error.kind() {
            ErrorKind::AuthenticationFailed => refused(format!("user or password: {text}")),
            ErrorKind::Server(ServerErrorKind::ReadOnly) => {
                refused("it is a read-only replica: give the address of its primary".into())
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => {
                refused(format!("its user may not do this: {text}"))
            }
            ErrorKind::Server(ServerErrorKind::BusyLoading) => {
                unavailable("it still reads its files".into())
            }
            _ if matches!(code, "NOAUTH" | "WRONGPASS") => {
                refused(format!("user or password: {text}"))
            }
            _ if code == "OOM" || text.contains("OOM command") => unavailable(
                "its memory is full: raise maxmemory, or keep records for less time".into(),
            ),
            _ if text.contains("DB index is out of range") => refused(
                "it has no database of the number at the end of its URL: there are as many as its setting databases \
                 says, from 0"
                    .into(),
            ),
            _ if code == "MISCONF" => unavailable(format!("it can't write its files: {text}")),
            _ if code == "BUSY" => unavailable("a script of somebody else keeps it busy".into()),
            _ if text.contains("user_script") => Error::Damaged { what, why: text },
            _ if error.is_io_error() || error.is_connection_dropped() => unavailable(text),
            _ => Error::Refused { what, why: text },
        }
    }

    /// A connection of its own that is told what is published.
    pub(super) async fn subscribed(&self, pattern: &str) -> Result<redis::aio::PubSub, RedisError> {
        // A replica publishes what its primary does.
        let mut last = None;
        for info in &self.0.infos {
            match tls::listen(info).await {
                Ok(mut channel) => {
                    channel.psubscribe(pattern).await?;
                    return Ok(channel);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is an address"))
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }
}

type RedisResultText = Result<String, RedisError>;

impl Connected {
    fn command(&self, call: &Call<'_>) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(call.script.get_hash()).arg(call.keys.len());
        for key in call.keys {
            command.arg(key);
        }
        command.arg(&self.run).arg(if self.keeps { "1" } else { "0" });
        (call.arguments)(&mut command);
        command
    }
}

/// The hash tag at the beginning of a prefix, braces included: all keys are in one slot of a cluster then.
fn tag_of(prefix: &str) -> Option<&str> {
    let end = prefix.find('}')?;
    (prefix.starts_with('{') && end > 1).then(|| &prefix[..=end])
}

/// What a node of a cluster says that has not, or not any more, what it was asked for. Nothing was carried out: a function looks at
/// what it can't do without before it writes.
fn is_moving(error: &RedisError) -> bool {
    error.is_cluster_error() || error.to_string().contains("non local key")
}

/// A line `name:value` of what the server tells of itself.
fn field<'a>(told: &'a str, name: &str) -> &'a str {
    let value = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim_end()
}

/// What a script answered: a word, and more.
pub(super) struct Reply {
    pub(super) word: String,
    pub(super) values: Vec<Value>,
}

fn unpacked(value: Value) -> Result<Reply, RedisError> {
    let mut values = match value {
        Value::Array(values) => values,
        Value::ServerError(error) => return Err(error.into()),
        other => {
            return Err((ErrorKind::UnexpectedReturnType, "a script", format!("{other:?}")).into());
        }
    };
    if values.is_empty() {
        return Err((ErrorKind::UnexpectedReturnType, "a script said nothing").into());
    }
    let word = String::from_redis_value(values.remove(0))?;
    Ok(Reply { word, values })
}

impl Reply {
    /// A value as a number.
    pub(super) fn number(&self, at: usize) -> Result<u64, Error> {
        match self.values.get(at) {
            Some(Value::Int(number)) => u64::try_from(*number).map_err(|_| self.odd(at)),
            _ => self.text(at)?.parse().map_err(|_| self.odd(at)),
        }
    }

    /// A value as text.
    pub(super) fn text(&self, at: usize) -> Result<&str, Error> {
        match self.values.get(at) {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).map_err(|_| self.odd(at)),
            _ => Err(self.odd(at)),
        }
    }

    /// A list, which is taken out.
    pub(super) fn list(&mut self, at: usize) -> Result<Vec<Value>, Error> {
        match self.values.get_mut(at) {
            Some(Value::Array(values)) => Ok(std::mem::take(values)),
            _ => Err(self.odd(at)),
        }
    }

    /// What is not as it should be.
    pub(super) fn odd(&self, at: usize) -> Error {
        let why = format!("value {at} after {:?} is not what it should be", self.word);
        Error::Damaged { what: "an answer of Redis".into(), why }
    }
}
