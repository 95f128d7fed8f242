//! Who may do what: organizers, their users with passwords, sessions of the pages, keys of the API.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

use crate::codes;
use crate::database::{Database, Tx};
use crate::error::{Error, Wrong};
use crate::time;

/// Shortest password, in characters.
pub const PASSWORD_CHARACTERS_MIN: usize = 10;
/// Longest password, in bytes: hashing is dear.
pub const PASSWORD_BYTES_MAX: usize = 200;
/// How long a session lasts.
pub const SESSION_SECONDS: i64 = 12 * 3_600;
/// Sessions of one user; the oldest ends when there is one more.
const SESSIONS_MAX: i64 = 20;

/// Who is logged in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The session's own id.
    pub id: i64,
    /// Whose events the user sees.
    pub organizer_id: i64,
    /// The organizer's name.
    pub organizer: String,
    /// The user's address.
    pub email: String,
    /// What each form must carry.
    pub csrf_token: String,
}

/// Makes an organizer, unless it is there, and gives its id.
///
/// # Errors
/// The name or the slug is not as it must be.
pub async fn add_organizer(db: &Database, slug: &str, name: &str) -> Result<i64, Error> {
    let wrong = [check_slug("organizer", slug), check_text("name", name, 1, 200)];
    checked(wrong)?;
    let (slug, name) = (slug.to_owned(), name.to_owned());
    db.write(move |tx| {
        let values = [slug.as_str().into(), name.as_str().into(), time::now().into()];
        tx.execute(
            "INSERT INTO organizers (slug, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (slug) DO NOTHING",
            &values,
        )?;
        tx.one("SELECT id FROM organizers WHERE slug = $1", &values[..1])?.int(0)
    })
    .await
}

/// Makes a user, or gives one that is there a new password; all of its sessions end then.
///
/// # Errors
/// The address or the password is not as it must be.
pub async fn set_user(
    db: &Database,
    organizer: i64,
    email: &str,
    password: &str,
) -> Result<(), Error> {
    let email = email.trim().to_lowercase();
    let is_address =
        email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    let address = match is_address && email.len() <= 200 && !email.contains(char::is_whitespace) {
        true => None,
        false => Some(("email", "must be an e-mail address of at most 200 bytes".to_owned())),
    };
    checked([address, check_password(password)])?;
    let hash = hash(password.to_owned()).await?;
    db.write(move |tx| {
        let values = [organizer.into(), email.as_str().into(), hash.as_str().into(), time::now().into()];
        tx.execute(
            "INSERT INTO users (organizer_id, email, password_hash, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash",
            &values,
        )?;
        let ended = "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE email = $1)";
        tx.execute(ended, &[email.as_str().into()])?;
        Ok(())
    })
    .await
}

/// Whether there is any user yet.
///
/// # Errors
/// The database failed.
pub async fn has_users(db: &Database) -> Result<bool, Error> {
    db.read(|tx| Ok(tx.first("SELECT id FROM users LIMIT 1", &[])?.is_some())).await
}

/// Checks a password. Gives the cookie's secret, or none where address or password are wrong; which one is not told.
///
/// # Errors
/// The database failed.
pub async fn log_in(db: &Database, email: &str, password: &str) -> Result<Option<String>, Error> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Ok(None);
    }
    let email = email.trim().to_lowercase();
    let user = db
        .read(move |tx| {
            let row = tx.first(
                "SELECT id, password_hash FROM users WHERE email = $1",
                &[email.as_str().into()],
            )?;
            row.map(|row| Ok((row.int(0)?, row.text(1)?))).transpose()
        })
        .await?;
    // An unknown address takes as long as a known one.
    let (user, hash) = user.map_or((None, NOBODY.clone()), |(id, hash)| (Some(id), hash));
    let is_right = verify(password.to_owned(), hash).await;
    let Some(user) = user.filter(|_| is_right) else { return Ok(None) };
    let secret = codes::secret();
    let (digest, csrf) = (codes::digest(secret.as_bytes()), codes::secret());
    db.write(move |tx| start_session(tx, user, &digest, &csrf)).await?;
    Ok(Some(secret))
}

fn start_session(tx: &mut Tx<'_>, user: i64, digest: &str, csrf: &str) -> Result<(), Error> {
    let now = time::now();
    let ends = time::plus_seconds(now, SESSION_SECONDS);
    let values = [user.into(), digest.into(), csrf.into(), now.into(), ends.into()];
    tx.execute(
        "INSERT INTO sessions (user_id, secret_digest, csrf_token, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5)",
        &values,
    )?;
    tx.execute("DELETE FROM sessions WHERE expires_at <= $1", &[now.into()])?;
    tx.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN \
         (SELECT id FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT $2)",
        &[user.into(), SESSIONS_MAX.into()],
    )?;
    Ok(())
}

/// The session of a cookie's secret, if it still runs.
///
/// # Errors
/// The database failed.
pub async fn session(db: &Database, secret: &str) -> Result<Option<Session>, Error> {
    let digest = codes::digest(secret.as_bytes());
    db.read(move |tx| {
        let row = tx.first(
            "SELECT s.id, u.organizer_id, o.name, u.email, s.csrf_token FROM sessions s \
             JOIN users u ON u.id = s.user_id JOIN organizers o ON o.id = u.organizer_id \
             WHERE s.secret_digest = $1 AND s.expires_at > $2",
            &[digest.as_str().into(), time::now().into()],
        )?;
        row.map(|row| {
            Ok(Session {
                id: row.int(0)?,
                organizer_id: row.int(1)?,
                organizer: row.text(2)?,
                email: row.text(3)?,
                csrf_token: row.text(4)?,
            })
        })
        .transpose()
    })
    .await
}

/// Ends a session.
///
/// # Errors
/// The database failed.
pub async fn log_out(db: &Database, session: i64) -> Result<(), Error> {
    db.write(move |tx| {
        tx.execute("DELETE FROM sessions WHERE id = $1", &[session.into()]).map(drop)
    })
    .await
}

/// Makes a key for the API; it is shown this once. A key of that name is replaced.
///
/// # Errors
/// The name is not as it must be.
pub async fn add_key(db: &Database, organizer: i64, name: &str) -> Result<String, Error> {
    checked([check_text("name", name, 1, 100)])?;
    let key = codes::secret();
    let (digest, name) = (codes::digest(key.as_bytes()), name.to_owned());
    db.write(move |tx| {
        let values = [organizer.into(), name.as_str().into(), digest.as_str().into(), time::now().into()];
        tx.execute(
            "INSERT INTO api_keys (organizer_id, name, key_digest, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (organizer_id, name) DO UPDATE SET key_digest = excluded.key_digest",
            &values,
        )
    })
    .await?;
    Ok(key)
}

/// The organizer that a key belongs to.
///
/// # Errors
/// The database failed.
pub async fn organizer_of_key(db: &Database, key: &str) -> Result<Option<i64>, Error> {
    let digest = codes::digest(key.as_bytes());
    db.read(move |tx| {
        let row = tx.first(
            "SELECT organizer_id FROM api_keys WHERE key_digest = $1",
            &[digest.as_str().into()],
        )?;
        row.map(|row| row.int(0)).transpose()
    })
    .await
}

/// A field and the rule that it breaks.
pub(crate) type Broken = Option<(&'static str, String)>;

/// All rules that are broken, at once.
pub(crate) fn checked(wrong: impl IntoIterator<Item = Broken>) -> Result<(), Error> {
    let wrong = wrong.into_iter().flatten();
    let wrong: Vec<Wrong> =
        wrong.map(|(field, rule)| Wrong { field: field.into(), rule }).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(wrong)) }
}

pub(crate) fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Broken {
    if text.trim().chars().count() < min {
        return Some((field, "must not be empty".to_owned()));
    }
    if text.len() > max {
        return Some((field, format!("must be at most {max} bytes long")));
    }
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\r';
    text.contains(is_odd).then(|| (field, "must not hold control characters".to_owned()))
}

pub(crate) fn check_slug(field: &'static str, slug: &str) -> Broken {
    let is_right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let right =
        (1..=50).contains(&slug.len()) && slug.bytes().all(is_right) && !slug.starts_with('-');
    (!right).then(|| (field, "must be 1 to 50 of a-z, 0-9 and -, and not begin with -".to_owned()))
}

fn check_password(password: &str) -> Broken {
    if password.chars().count() < PASSWORD_CHARACTERS_MIN {
        return Some((
            "password",
            format!("must have at least {PASSWORD_CHARACTERS_MIN} characters"),
        ));
    }
    let long = password.len() > PASSWORD_BYTES_MAX;
    long.then(|| ("password", format!("must be at most {PASSWORD_BYTES_MAX} bytes long")))
}

/// The hash of no password, for users that are not there.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash_now(&codes::secret()).unwrap_or_default());

fn hash_now(password: &str) -> Result<String, Error> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|e| Error::field("password", format!("can't be hashed: {e}")))
}

async fn hash(password: String) -> Result<String, Error> {
    let done = tokio::task::spawn_blocking(move || hash_now(&password)).await;
    done.expect("hashing does not panic")
}

async fn verify(password: String, hash: String) -> bool {
    let done = tokio::task::spawn_blocking(move || {
        Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok()
    });
    done.await.expect("checking does not panic")
}
