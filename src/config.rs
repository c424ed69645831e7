//! The environment: the only reader of it. The command line says the rest (`cli`).
//! Refuses to know what the values are for.

use std::fmt::Debug;
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::model::printable;

/// The admin key to use in place of a generated one.
pub const ADMIN_KEY: &str = "POSTCALL_ADMIN_KEY";
/// The postcall that commands talk to.
pub const URL: &str = "POSTCALL_URL";
/// The API key that commands use.
pub const KEY: &str = "POSTCALL_KEY";
/// The database that nodes share: the environment keeps its password out of the list of processes.
pub const DATABASE_URL: &str = "POSTCALL_DATABASE_URL";
/// What is logged, as `tracing` filters are written: `info`, `postcall=debug,warn`.
pub const LOG: &str = "POSTCALL_LOG";

/// A variable's value; an empty one counts as not set.
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

/// What this machine is called, for people.
pub fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| variable("HOSTNAME"));
    told.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "node".to_owned())
}

/// Fields of a line of text, printable: what a vendor or a caller has written may be in them. (JSON has escapes of its own.)
fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let value = format!("{value:?}");
        let value = printable::line(&value);
        if field.name() == "message" { write!(writer, "{value}") } else { write!(writer, "{field}={value}") }
    };
    debug_fn(field).delimited(" ")
}

/// Starts logging to standard error: text on a terminal, JSON otherwise. `usual` is the filter when none is set.
///
/// # Errors
/// When the filter in the environment cannot be read.
pub fn start_logging(usual: &str) -> Result<(), String> {
    let filter = variable(LOG).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| format!("{LOG}={filter} cannot be read: {error}. Try {LOG}=info."))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).compact().fmt_fields(fields()).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_the_log_is_printed_and_never_obeyed() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .compact()
            .fmt_fields(fields())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let nasty = "a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}b\nforged\r";
            tracing::warn!(shown = %nasty, quoted = ?nasty, text = nasty, "said {nasty}");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line = written.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        let plain = r"a\u001b[2J\u009b1m\u007f\u202eb\u000aforged\u000d";
        assert!(line.contains(&format!("said {plain} shown={plain} ")), "{line}");
    }
}
