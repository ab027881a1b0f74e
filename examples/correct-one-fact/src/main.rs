//! Corrects one fact in a language model with two library crates and asks for it in other words.
//!
//! `cargo run -p correct-one-fact -- [MODEL]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;

use wise_edit::{Edit, EditProgress, Editor, Wise, WiseConfig, neutral_prompts};
use wise_model::{DeviceName, GenerateOptions, Model};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or("smollm2".to_owned());
    let device = DeviceName::Cpu.open()?;
    let model = Arc::new(Model::open(&name, &device, &mut |_| {})?);
    let mut editor = Wise::new(model, WiseConfig::default(), neutral_prompts())?;

    let question = "Which city is the capital of Kazakhstan?";
    let options = GenerateOptions {
        max_new_tokens: 32,
        ..GenerateOptions::default()
    };
    let before = editor.snapshot()?.ask(question, &options)?;
    let edit = Edit::new("What is the capital of Kazakhstan?", "Astana");
    editor.apply(&[edit], &mut |progress: EditProgress| {
        println!(
            "iteration {}: loss {:.3}",
            progress.iteration, progress.edit_loss
        );
    })?;
    let after = editor.snapshot()?.ask(question, &options)?;

    println!("{question}");
    println!("before: {}", before.generation.text);
    println!("after:  {}", after.generation.text);
    Ok(())
}
