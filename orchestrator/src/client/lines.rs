//! Lines out of an answer that comes in pieces, wherever the pieces are cut.

use reqwest::Response;

/// A line longer than this is handed on in parts: a server gone wrong must not fill our memory.
const LINE_MAX: usize = 4 * 1024 * 1024;

pub struct Lines {
    answer: Response,
    buffer: Buffer,
}

impl Lines {
    pub fn new(answer: Response) -> Self {
        Self {
            answer,
            buffer: Buffer::default(),
        }
    }

    /// The next line without its end; `None` when the answer is over.
    pub async fn next(&mut self) -> Result<Option<String>, reqwest::Error> {
        loop {
            if let Some(line) = self.buffer.take_line() {
                return Ok(Some(line));
            }
            match self.answer.chunk().await? {
                Some(piece) => self.buffer.add(&piece),
                None => return Ok(self.buffer.take_rest()),
            }
        }
    }
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// So far there is no line's end.
    searched: usize,
}

impl Buffer {
    fn add(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.bytes[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| self.searched + at);
        let Some(end) = end else {
            self.searched = self.bytes.len();
            return (self.bytes.len() > LINE_MAX).then(|| self.take_rest())?;
        };
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        self.searched = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    fn take_rest(&mut self) -> Option<String> {
        self.searched = 0;
        let rest = std::mem::take(&mut self.bytes);
        (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_wherever_the_pieces_are_cut() {
        let text = "id: 1\r\ndata: zwölf\n\nrest";
        for cut in 0..text.len() {
            let mut buffer = Buffer::default();
            let mut lines = Vec::new();
            for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                buffer.add(piece);
                lines.extend(std::iter::from_fn(|| buffer.take_line()));
            }
            lines.extend(buffer.take_rest());
            assert_eq!(lines, ["id: 1", "data: zwölf", "", "rest"], "cut at {cut}");
        }
    }
}
