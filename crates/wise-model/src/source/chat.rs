//! Messages rendered by a model's own chat template, as transformers renders them.

use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};

use super::ChatTemplateSource;
use crate::{Error, Result};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }

    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// A chat template, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Why it could not be compiled; raw prompts need no template.
    broken: Option<String>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    gap: String,
}

const NAME: &str = "chat";

/// What a date's parts are in the only date there is.
const DATE: [(&str, &str); 10] = [
    ("%Y", "2024"),
    ("%y", "24"),
    ("%m", "07"),
    ("%B", "July"),
    ("%b", "Jul"),
    ("%d", "26"),
    ("%A", "Friday"),
    ("%a", "Fri"),
    ("%H", "00"),
    ("%M", "00"),
];

fn of_date(format: &str) -> String {
    DATE.iter().fold(format.to_owned(), |text, (part, value)| {
        text.replace(part, value)
    })
}

impl ChatTemplate {
    /// Compiles the template with the settings of transformers: blocks take their line breaks with
    /// them, Python's string and list methods work, `raise_exception`, `strftime_now` and loop controls exist, and the
    /// marks around what an assistant generates mean nothing. One that does not follow Jinja's syntax says so when it is
    /// rendered.
    ///
    /// To `strftime_now` it is always 26 July 2024, the date that Llama's templates have for themselves where nobody tells
    /// the time: prompts, and so edits and routes, do not change from day to day.
    pub fn compile(source: &ChatTemplateSource) -> Self {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<(), _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| of_date(&format));
        let compiled = environment.add_template_owned(NAME, without_marks(&source.template));
        let broken = compiled.err().map(|e| e.to_string());
        let (bos_token, eos_token) = (source.bos_token.clone(), source.eos_token.clone());
        let mut template = Self {
            environment,
            broken,
            bos_token,
            eos_token,
            gap: String::new(),
        };
        template.gap = template.rendered_gap();
        template
    }

    /// The prompt for `messages`; `add_generation_prompt` opens the model's next turn.
    ///
    /// # Errors
    ///
    /// [`Error::ChatTemplate`] if the template does not follow Jinja's syntax, refuses the messages or fails on them.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        if let Some(reason) = &self.broken {
            return Err(Error::ChatTemplate(reason.clone()));
        }
        let template = self.environment.get_template(NAME).map_err(|e| error(&e))?;
        let mut values = std::collections::BTreeMap::from([
            ("messages", minijinja::Value::from_serialize(messages)),
            ("add_generation_prompt", add_generation_prompt.into()),
        ]);
        // An absent token stays undefined, as in transformers.
        let tokens = [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
        ];
        for (name, token) in tokens {
            if let Some(token) = token {
                values.insert(name, token.clone().into());
            }
        }
        template
            .render(context! { ..minijinja::Value::from(values) })
            .map_err(|e| error(&e))
    }

    /// White space that stands between the prompt and the assistant's words, as in the templates of Llama 2 and Mistral;
    /// where anything else does, nothing.
    pub(crate) fn gap(&self) -> &str {
        &self.gap
    }

    fn rendered_gap(&self) -> String {
        const ANSWER: &str = "\u{1}answer\u{1}";
        let asked = [Message::user("?")];
        let answered = [Message::user("?"), Message::assistant(ANSWER)];
        let (Ok(prompt), Ok(whole)) = (self.render(&asked, true), self.render(&answered, false))
        else {
            return String::new();
        };
        let answer = whole.strip_prefix(&prompt).unwrap_or_default();
        let (gap, _) = answer.split_once(ANSWER).unwrap_or_default();
        if gap.trim().is_empty() {
            gap.to_owned()
        } else {
            String::new()
        }
    }
}

/// A template whose `generation` blocks, by which transformers finds what to train on, are ordinary ones.
fn without_marks(template: &str) -> String {
    let mut parts = template.split("{%");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (tag, rest) = part.split_once("%}").unwrap_or((part, ""));
        let plain = match tag.trim_matches(['-', '+']).trim() {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        text.push_str("{%");
        text.push_str(&plain);
        if part.len() > tag.len() {
            text.push_str("%}");
        }
        text.push_str(rest);
    }
    text
}

fn error(error: &minijinja::Error) -> Error {
    Error::ChatTemplate(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tokenizer.chat_template` of SmolLM2-135M-Instruct, word for word.
    const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn compile(template: &str) -> ChatTemplate {
        ChatTemplate::compile(&ChatTemplateSource {
            template: template.to_owned(),
            bos_token: None,
            eos_token: Some("</s>".to_owned()),
        })
    }

    fn render(template: &str) -> Result<String> {
        compile(template).render(&[Message::user(" Hi ")], true)
    }

    #[test]
    fn smollm2_adds_its_system_prompt() {
        let template = compile(SMOLLM2);
        assert_eq!(
            template.render(&[Message::user("Hi")], true).unwrap(),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
             <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
        let turns = [
            Message::new("system", "S"),
            Message::user("U"),
            Message::assistant("A"),
        ];
        assert_eq!(
            template.render(&turns, false).unwrap(),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        );
    }

    #[test]
    fn the_parts_of_python_that_templates_use() {
        assert_eq!(render("{{ messages[0].content.strip() }}").unwrap(), "Hi");
        assert_eq!(
            render("{{ messages[0]['content'] | trim | tojson }}").unwrap(),
            "\"Hi\""
        );
        assert_eq!(
            render("{{ messages[0].role.startswith('us') }}")
                .unwrap()
                .to_lowercase(),
            "true"
        );
        assert_eq!(
            render(
                "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
            )
            .unwrap(),
            "01"
        );
        assert_eq!(
            render("{% if bos_token is defined %}b{% endif %}{{ eos_token }}").unwrap(),
            "</s>"
        );
    }

    #[test]
    fn it_is_always_the_same_day() {
        let date = "{{ strftime_now('%d %b %Y') }}, {{ strftime_now('%Y-%m-%d') }}";
        assert_eq!(render(date).unwrap(), "26 Jul 2024, 2024-07-26");
        assert_eq!(
            render("{{ strftime_now('%A, %B %d') }}").unwrap(),
            "Friday, July 26"
        );
    }

    #[test]
    fn blocks_take_their_line_with_them() {
        assert_eq!(
            render("a\n  {% if true %}\nb\n  {% endif %}\nc").unwrap(),
            "a\nb\nc"
        );
    }

    #[test]
    fn failures_carry_the_reason() {
        let error = render("{{ raise_exception('roles must alternate') }}")
            .unwrap_err()
            .to_string();
        assert!(error.contains("roles must alternate"), "{error}");
        for broken in ["{% if %}", "{% generation %}", "a {% b"] {
            assert!(matches!(
                render(broken).unwrap_err(),
                Error::ChatTemplate(_)
            ));
        }
    }

    #[test]
    fn an_answer_begins_as_the_template_begins_it() {
        let gap = |template: &str| compile(template).gap().to_owned();
        assert_eq!(gap(SMOLLM2), "");
        let of_turn = |assistant: &str| {
            format!(
                "{{% for m in messages %}}{{% if m.role == 'user' %}}[INST] {{{{ m.content }}}} [/INST]\
                 {{% else %}}{assistant}{{{{ m.content }}}}</s>{{% endif %}}{{% endfor %}}"
            )
        };
        assert_eq!(gap(&of_turn(" ")), " ");
        assert_eq!(gap(&of_turn("")), "");
        assert_eq!(gap(&of_turn("<think></think>")), "");
        assert_eq!(gap("{% if %}"), "");
    }

    #[test]
    fn marks_around_what_is_generated_mean_nothing() {
        let marked = "a {%- generation -%} b {% endgeneration %} {{ '{% c %}' }}";
        assert_eq!(render(marked).unwrap(), "ab  {% c %}");
    }
}
