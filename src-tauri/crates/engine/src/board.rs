//! The board: charts that somebody pinned, kept in the home.
//!
//! Owns one file. A change is in the file before it is answered, and is refused when the board is no longer the one that it was made of. A file that
//! cannot be read is put aside, and never written over.

use crate::home;
use flotilla_contract::{
    ErrorCode, WireError,
    metric::{Board, Pin},
};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use tokio::sync::Mutex;

const FILE: &str = "board.json";
/// Charts at most,
const MOST: usize = 24;
/// letters of a title,
const LONGEST_TITLE: usize = 500;
/// and bytes of all.
const LARGEST: usize = 256 << 10;

/// The board of an engine.
pub(crate) struct Boards {
    board: Mutex<Board>,
    file: PathBuf,
}

impl Boards {
    /// With what the home keeps. What is wrong comes as a notice.
    pub(crate) fn new(home: &Path) -> (Self, Option<String>) {
        let file = home.join(FILE);
        let (board, notice) = match read(&file) {
            Ok(board) => (board, None),
            Err(error) => {
                let aside = file.with_extension("json.broken");
                let put = std::fs::rename(&file, &aside);
                let put = put.map_or_else(
                    |error| format!("it could not be put aside ({error})"),
                    |()| format!("it is {} now", aside.display()),
                );
                let file = file.display();
                let said = format!("The board is empty: failed to read {file} ({error}); {put}.");
                (Board::default(), Some(said))
            }
        };
        let board = Mutex::new(board);
        (Self { board, file }, notice)
    }

    pub(crate) async fn read(&self) -> Board {
        self.board.lock().await.clone()
    }

    /// # Errors
    /// `bad_request` for a chart that is none, `conflict` when it is another board by now, `internal` when the home takes no file.
    pub(crate) async fn write(&self, next: Board) -> Result<Board, WireError> {
        let failed = |code, why: String| WireError::new(code, format!("change the board: {why}"));
        check(&next.charts).map_err(|why| failed(ErrorCode::BadRequest, why))?;
        let mut board = self.board.lock().await;
        if board.version != next.version {
            let why = "somebody changed it meanwhile; read it again".to_owned();
            return Err(failed(ErrorCode::Conflict, why));
        }
        let next = Board {
            version: board.version + 1,
            ..next
        };
        let (file, text) = (self.file.clone(), serde_json::to_vec_pretty(&next));
        let done = match text {
            Ok(text) if text.len() > LARGEST => {
                let why = format!("it has {} bytes (accepted: at most {LARGEST})", text.len());
                return Err(failed(ErrorCode::BadRequest, why));
            }
            Ok(text) => tokio::task::spawn_blocking(move || home::write_private(&file, &text))
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error))),
            Err(error) => Err(error.into()),
        };
        done.map_err(|error| {
            let why = format!("write {}: {error}", self.file.display());
            failed(ErrorCode::Internal, why)
        })?;
        *board = next;
        Ok(board.clone())
    }
}

fn read(file: &Path) -> io::Result<Board> {
    let opened = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Board::default()),
        opened => opened?,
    };
    // What is longer was not written here; cut, it is no board.
    let mut text = Vec::new();
    opened.take(LARGEST as u64).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn check(charts: &[Pin]) -> Result<(), String> {
    if charts.len() > MOST {
        return Err(format!(
            "{} charts (accepted: at most {MOST})",
            charts.len()
        ));
    }
    for (i, Pin { title, asked }) in charts.iter().enumerate() {
        let wrong = |field: &str, value: &str, accepted: &str| {
            Err(format!(
                "charts[{i}].{field} is {value} (accepted: {accepted})"
            ))
        };
        let letters = title.chars().count();
        if title.trim().is_empty() {
            return wrong("title", "blank", "what the chart is called");
        }
        if letters > LONGEST_TITLE {
            let accepted = format!("at most {LONGEST_TITLE}");
            return wrong("title", &format!("of {letters} letters"), &accepted);
        }
        if asked.metric.is_empty() {
            return wrong("asked.metric", "empty", "the name of a metric");
        }
        if let Some(quantile) = asked.quantile.filter(|q| !(0.0..=1.0).contains(q)) {
            return wrong("asked.quantile", &quantile.to_string(), "0 to 1");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_contract::metric::{ChartQuery, RangeFunction};

    fn pin(title: &str, quantile: Option<f64>) -> Pin {
        Pin {
            title: title.to_owned(),
            asked: ChartQuery {
                metric: "up".to_owned(),
                labels: Vec::new(),
                function: RangeFunction::Mean,
                grouping: None,
                quantile,
            },
        }
    }

    #[tokio::test]
    async fn a_board_is_kept_refuses_what_is_none_and_loses_nothing() {
        let home = tempfile::tempdir().unwrap();
        let open = || Boards::new(home.path());
        let (boards, notice) = open();
        assert_eq!((boards.read().await, notice), (Board::default(), None));
        let of = |version, charts: &[Pin]| Board {
            version,
            charts: charts.to_vec(),
        };
        let one = boards.write(of(0, &[pin("a", None)])).await.unwrap();
        assert_eq!(one, of(1, &[pin("a", None)]));
        for (next, code, said) in [
            (of(0, &[]), ErrorCode::Conflict, "read it again"),
            (
                of(1, &vec![pin("a", None); 25]),
                ErrorCode::BadRequest,
                "25 charts (accepted: at most 24)",
            ),
            (
                of(1, &[pin("a", None), pin(" ", None)]),
                ErrorCode::BadRequest,
                "charts[1].title is blank (accepted: what the chart is called)",
            ),
            (
                of(1, &[pin("a", Some(1.5))]),
                ErrorCode::BadRequest,
                "charts[0].asked.quantile is 1.5 (accepted: 0 to 1)",
            ),
        ] {
            let error = boards.write(next).await.unwrap_err();
            assert_eq!(error.code, code);
            assert!(error.message.contains(said), "{}", error.message);
        }
        assert_eq!(open().0.read().await, one, "it outlives its engine");

        let file = home.path().join(FILE);
        std::fs::write(&file, "{ half").unwrap();
        let (boards, notice) = open();
        assert!(notice.unwrap().contains("board.json.broken"));
        boards.write(of(0, &[pin("b", None)])).await.unwrap();
        let aside = std::fs::read(file.with_extension("json.broken")).unwrap();
        assert_eq!(aside, b"{ half");
    }
}
