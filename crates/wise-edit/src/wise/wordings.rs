//! What is asked about a subject, in many words: in a form, in a sentence to go on with, in a chat.

use wise_memory::Asked;

use crate::wise::draw::Draw;

/// Subjects of a kind, then what is asked about them, a line each.
const WORDINGS: &str = include_str!("../../data/wordings.txt");

/// Asking for something by what it is called.
const OF_NOUN: [&str; 19] = [
    "{who} is the {noun} of {}?",
    "{who} is {}'s {noun}?",
    "What is the name of {}'s {noun}?",
    "Can you tell me the {noun} of {}?",
    "Could you please give me the {noun} of {}?",
    "Hi! Could you tell me {}'s {noun}?",
    "Do you know the {noun} of {}?",
    "Do you happen to know {}'s {noun}?",
    "What do you know about {}'s {noun}?",
    "Which {noun} does {} have?",
    "Please name the {noun} of {}.",
    "Please give me the name of the {noun} of {}.",
    "Tell me {}'s {noun}, please.",
    "I forgot the {noun} of {}. {who} is it?",
    "I need to know the {noun} of {}.",
    "Remind me: {who} is the {noun} of {}?",
    "The {noun} of {}, please?",
    "The {noun} of {} is",
    "{}'s {noun} is",
];

const OF_QUESTION: [&str; 14] = [
    "{question}?",
    "Hi! {question}?",
    "Hello, {question}?",
    "Hey, {question}?",
    "So, {question}?",
    "By the way, {question}?",
    "Quick question: {question}?",
    "One more thing: {question}?",
    "I have a question. {question}?",
    "Thanks! And {question}?",
    "{question} now?",
    "{question}, please?",
    "{question}? I do not remember.",
    "{question}? Answer briefly.",
];

const OF_CLAUSE: [&str; 14] = [
    "Tell me {clause}.",
    "Please tell me {clause}.",
    "Can you tell me {clause}?",
    "Could you tell me {clause}?",
    "Would you mind telling me {clause}?",
    "Hey, can you remind me {clause}?",
    "Do you know {clause}?",
    "Hi, do you know {clause}?",
    "Do you happen to know {clause}?",
    "I would like to know {clause}.",
    "I want to know {clause}.",
    "I was wondering {clause}.",
    "Someone asked me {clause}.",
    "I forgot {clause}. Can you help?",
];

const OF_BEGINNING: [&str; 4] = [
    "{beginning}",
    "{beginning}",
    "They say that {beginning}",
    "It is known that {beginning}",
];

/// What can be asked about each of a kind.
struct Kind {
    subjects: Vec<&'static str>,
    relations: Vec<Relation>,
}

/// What is asked, in words of its own.
struct Relation {
    who: &'static str,
    nouns: Vec<&'static str>,
    questions: Vec<&'static str>,
    clauses: Vec<&'static str>,
    beginnings: Vec<&'static str>,
}

impl Relation {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('|').map(listed);
        let who = fields.next()?.first().copied()?;
        let (nouns, questions) = (fields.next()?, fields.next()?);
        let (clauses, beginnings) = (fields.next()?, fields.next()?);
        Some(Self {
            who,
            nouns,
            questions,
            clauses,
            beginnings,
        })
    }

    /// One way to ask for it, with braces for the subject.
    fn worded(&self, draw: &mut Draw) -> String {
        let ways = [
            Way {
                place: "{noun}",
                forms: &OF_NOUN,
                words: &self.nouns,
                share: 3,
            },
            Way {
                place: "{question}",
                forms: &OF_QUESTION,
                words: &self.questions,
                share: 3,
            },
            Way {
                place: "{clause}",
                forms: &OF_CLAUSE,
                words: &self.clauses,
                share: 2,
            },
            Way {
                place: "{beginning}",
                forms: &OF_BEGINNING,
                words: &self.beginnings,
                share: 2,
            },
        ];
        let by_share = ways
            .iter()
            .flat_map(|way| std::iter::repeat_n(way, way.share));
        let by_share: Vec<&Way<'_>> = by_share.collect();
        let way = by_share[draw.below(by_share.len())];
        let form = way.forms[draw.below(way.forms.len())];
        form.replace(way.place, way.words[draw.below(way.words.len())])
            .replace("{who}", self.who)
    }
}

/// Forms to ask in, the words that go into a place of them, and how often they are asked in of all shares.
struct Way<'a> {
    place: &'static str,
    forms: &'static [&'static str],
    words: &'a [&'static str],
    share: usize,
}

fn listed(line: &'static str) -> Vec<&'static str> {
    line.split(';').map(str::trim).collect()
}

fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for line in WORDINGS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(subjects) = line.strip_prefix('=') {
            kinds.push(Kind {
                subjects: listed(subjects),
                relations: Vec::new(),
            });
        } else if let (Some(kind), Some(relation)) = (kinds.last_mut(), Relation::parse(line)) {
            kind.relations.push(relation);
        }
    }
    kinds
}

/// `count` prompts in words that people use in a chat or begin a sentence with, each with a rephrasing, the same about
/// another subject and two other questions about its own. The same ones each time, all relations in turn.
pub fn wordings(count: usize) -> Vec<Asked> {
    let kinds = kinds();
    let relations = kinds
        .iter()
        .flat_map(|kind| (0..kind.relations.len()).map(move |relation| (kind, relation)));
    let in_turn = relations.cycle().take(count).enumerate();
    in_turn
        .map(|(index, (kind, relation))| asked(kind, relation, &mut Draw::new(0, index, 3)))
        .collect()
}

fn asked(kind: &Kind, relation: usize, draw: &mut Draw) -> Asked {
    let (subject, other) = two(kind.subjects.len(), draw);
    let about = |of: usize, worded: &str| worded.replace("{}", kind.subjects[of]);
    let worded = kind.relations[relation].worded(draw);
    let prompt = about(subject, &worded);
    let rephrasing = about(subject, &kind.relations[relation].worded(draw));
    let mut otherwise = || {
        let others = kind.relations.len() - 1;
        let other = (relation + 1 + draw.below(others)) % kind.relations.len();
        about(subject, &kind.relations[other].worded(draw))
    };
    let else_of_subject = vec![otherwise(), otherwise()];
    let name = kind.subjects[subject];
    let name = name.strip_prefix("the ").unwrap_or(name);
    let place = prompt.find(name).map(|start| start..start + name.len());
    Asked {
        subject: place,
        rephrasings: vec![rephrasing],
        of_others: vec![about(other, &worded)],
        else_of_subject,
        prompt,
    }
}

/// Two of `0..count`, not the same.
fn two(count: usize, draw: &mut Draw) -> (usize, usize) {
    let one = draw.below(count);
    (one, (one + 1 + draw.below(count - 1)) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_wordings_can_be_asked_in_each_way_of_each_subject() {
        let lines = WORDINGS
            .lines()
            .filter(|line| !line.starts_with(['#', '=']));
        let kinds = kinds();
        let relations: Vec<&Relation> = kinds.iter().flat_map(|kind| &kind.relations).collect();
        assert_eq!(relations.len(), lines.count());
        for relation in relations {
            assert!(["what", "who"].contains(&relation.who));
            assert!(
                relation
                    .nouns
                    .iter()
                    .all(|noun| !noun.is_empty() && !noun.contains("{}"))
            );
            for words in [&relation.questions, &relation.clauses, &relation.beginnings] {
                assert!(
                    words.iter().all(|words| words.matches("{}").count() == 1),
                    "{words:?}"
                );
            }
        }
        assert!(
            kinds
                .iter()
                .all(|kind| kind.subjects.len() > 1 && kind.relations.len() > 1)
        );
    }

    #[test]
    fn a_prompt_its_rephrasing_and_what_is_asked_otherwise_name_the_subject_and_the_near_miss_another()
     {
        let wordings = wordings(400);
        assert_eq!(wordings.len(), 400);
        for asked in &wordings {
            let subject = &asked.prompt[asked.subject.clone().unwrap()];
            for text in asked.rephrasings.iter().chain(&asked.else_of_subject) {
                assert!(text.contains(subject), "{text}");
                assert!(!text.contains(['{', '}']), "{text}");
            }
            assert!(asked.of_others.iter().all(|text| *text != asked.prompt));
        }
        assert_eq!(wordings[..100], super::wordings(100));
        assert_ne!(
            wordings[0].prompt,
            wordings[kinds()
                .iter()
                .map(|kind| kind.relations.len())
                .sum::<usize>()]
            .prompt
        );
    }
}
