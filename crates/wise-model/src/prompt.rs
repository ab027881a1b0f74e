//! From text to tokens, with the tokens that vote on the route marked.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokenizers::Encoding;

use crate::source::Message;
use crate::{Error, Model, Result};

/// How a question is put to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptFormat {
    /// The text as it is; an answer follows after a space.
    Raw,
    /// One user message in the model's chat template; the answer is the assistant's message.
    Chat,
}

impl FromStr for PromptFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            "chat" => Ok(Self::Chat),
            _ => Err(format!(
                "unknown prompt format {text:?}, expected raw or chat"
            )),
        }
    }
}

impl fmt::Display for PromptFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Chat => "chat",
        })
    }
}

/// A question as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The tokens of the user's own words: the whole prompt in raw, the user's message in chat.
    pub scope: Range<usize>,
}

/// A question and its answer as tokens; the answer begins after the prompt's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The question alone.
    pub prompt: Prompt,
    /// Token ids of question and answer.
    pub tokens: Vec<u32>,
}

impl Answered {
    /// The answer's tokens, as a range over [`Self::tokens`].
    pub fn answer(&self) -> Range<usize> {
        self.prompt.tokens.len()..self.tokens.len()
    }
}

impl Model {
    /// Chat where the model has a template, else raw.
    pub fn default_format(&self) -> PromptFormat {
        if self.chat.is_some() {
            PromptFormat::Chat
        } else {
            PromptFormat::Raw
        }
    }

    /// Tokens of a question. `before` is put in front of `text`, inside the user's message, and does not
    /// belong to the scope.
    ///
    /// # Errors
    /// [`Error::Empty`] on a blank text, [`Error::NoChatTemplate`], or the tokenizer's own.
    pub fn prompt(&self, format: PromptFormat, before: &str, text: &str) -> Result<Prompt> {
        self.prompt_after(format, &[], before, text)
    }

    /// [`Self::prompt`] of a question that follows earlier messages of a chat. They do not belong to the scope.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn prompt_in_chat(&self, earlier: &[Message], before: &str, text: &str) -> Result<Prompt> {
        self.prompt_after(PromptFormat::Chat, earlier, before, text)
    }

    fn prompt_after(
        &self,
        format: PromptFormat,
        earlier: &[Message],
        before: &str,
        text: &str,
    ) -> Result<Prompt> {
        if text.trim().is_empty() {
            return Err(Error::Empty { what: "prompt" });
        }
        let full = self.prompt_text(format, earlier, &format!("{before}{text}"))?;
        let encoding = self.encode(&full, format)?;
        let tokens = encoding.get_ids().to_vec();
        if tokens.is_empty() {
            return Err(Error::Empty { what: "prompt" });
        }
        let scope = match format {
            PromptFormat::Raw if before.is_empty() => 0..tokens.len(),
            _ => {
                let bytes = self.message(format, earlier, &full, text.trim())?;
                overlapping(&encoding, &bytes)
            }
        };
        Ok(Prompt { tokens, scope })
    }

    /// Tokens of a question and its answer. The question's tokens are those of [`Self::prompt`].
    ///
    /// # Errors
    /// As [`Self::prompt`], and [`Error::Empty`] on a blank answer.
    pub fn answered(
        &self,
        format: PromptFormat,
        before: &str,
        text: &str,
        answer: &str,
    ) -> Result<Answered> {
        let answer = answer.trim();
        if answer.is_empty() {
            return Err(Error::Empty { what: "answer" });
        }
        let prompt = self.prompt(format, before, text)?;
        let gap = match (format, &self.chat) {
            (PromptFormat::Raw, _) => " ",
            (PromptFormat::Chat, Some(template)) => template.gap(),
            (PromptFormat::Chat, None) => "",
        };
        let joined = self.prompt_text(format, &[], &format!("{before}{text}"))? + gap + answer;
        let joined = self.encode(&joined, format)?.get_ids().to_vec();
        let tokens = if joined.starts_with(&prompt.tokens) {
            joined
        } else {
            // The joined text merges across the border; a generation never sees such tokens.
            let alone = self.encode_plain(&format!("{gap}{answer}"))?;
            let alone = alone.get_ids().to_vec();
            [prompt.tokens.clone(), alone].concat()
        };
        if tokens.len() == prompt.tokens.len() {
            return Err(Error::Empty { what: "answer" });
        }
        Ok(Answered { prompt, tokens })
    }

    /// Token ids of a text, with the special tokens that the tokenizer adds by itself.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode(text, PromptFormat::Raw)?.get_ids().to_vec())
    }

    /// Token ids of a text without any special tokens, and which of them the bytes `part` of it fall into.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn tokenize_part(
        &self,
        text: &str,
        part: Range<usize>,
    ) -> Result<(Vec<u32>, Range<usize>)> {
        let encoding = self.encode_plain(text)?;
        Ok((encoding.get_ids().to_vec(), overlapping(&encoding, &part)))
    }

    /// Text of token ids, without special tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn detokenize(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer
            .decode(tokens, true)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }

    fn prompt_text(
        &self,
        format: PromptFormat,
        earlier: &[Message],
        content: &str,
    ) -> Result<String> {
        match (format, &self.chat) {
            (PromptFormat::Raw, _) => Ok(content.to_owned()),
            (PromptFormat::Chat, Some(template)) => {
                let message = Message::user(content);
                template.render(&[earlier, &[message]].concat(), true)
            }
            (PromptFormat::Chat, None) => Err(Error::NoChatTemplate {
                model: self.name().to_owned(),
            }),
        }
    }

    /// Where the user's words stand in a rendered prompt, in bytes: their last occurrence between what the
    /// template writes before a message and what it writes after it.
    fn message(
        &self,
        format: PromptFormat,
        earlier: &[Message],
        full: &str,
        text: &str,
    ) -> Result<Range<usize>> {
        const STAND_IN: &str = "\u{1}message\u{1}";
        let lacks = || Error::ChatTemplate("the prompt lacks the user's message".to_owned());
        let frame = self.prompt_text(format, earlier, STAND_IN)?;
        let (head, tail) = frame.rsplit_once(STAND_IN).ok_or_else(lacks)?;
        let end = full.len().saturating_sub(tail.len());
        let inside = full.get(head.len()..end).ok_or_else(lacks)?;
        let start = head.len() + inside.rfind(text).ok_or_else(lacks)?;
        Ok(start..start + text.len())
    }

    /// A chat template writes its special tokens itself.
    fn encode(&self, text: &str, format: PromptFormat) -> Result<Encoding> {
        self.tokenizer
            .encode(text, format == PromptFormat::Raw)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }

    fn encode_plain(&self, text: &str) -> Result<Encoding> {
        self.tokenizer
            .encode(text, false)
            .map_err(|e| Error::Tokenizer(e.to_string()))
    }
}

fn overlapping(encoding: &Encoding, bytes: &Range<usize>) -> Range<usize> {
    let inside = |&(start, end): &(usize, usize)| start < bytes.end && end > bytes.start;
    let offsets = encoding.get_offsets();
    let first = offsets.iter().position(inside).unwrap_or(0);
    let last = offsets.iter().rposition(inside).unwrap_or(first);
    first..last + 1
}
