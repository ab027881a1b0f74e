//! `wise doctor`: what this build can do on this machine.

use serde::Serialize;
use wise_model::{DeviceName, Precision};

use crate::error::Result;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Health {
    version: &'static str,
    burn: &'static str,
    target: String,
    devices: Vec<DeviceHealth>,
    cache: String,
    smollm2_cached: bool,
    cores: usize,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct DeviceHealth {
    name: String,
    compiled_in: bool,
    found: bool,
    precisions: Vec<String>,
    note: Option<String>,
}

/// Runs the command.
pub fn run(output: Output) -> Result<()> {
    let devices = [DeviceName::Cpu, DeviceName::Wgpu, DeviceName::Cuda(0)];
    let cache = wise_model::cache_dir();
    let health = Health {
        version: env!("CARGO_PKG_VERSION"),
        burn: "0.22.1",
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        devices: devices.into_iter().map(examine).collect(),
        smollm2_cached: wise_model::is_cached("smollm2"),
        cache: cache.display().to_string(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory("MemTotal"),
        memory_available_bytes: memory("MemAvailable"),
    };
    output.data(&health, &describe(&health))
}

fn examine(device: DeviceName) -> DeviceHealth {
    let opened = device.open();
    let taken = |precision: &Precision| opened.as_ref().is_ok_and(|d| precision.is_taken_by(d));
    let precisions = Precision::ALL.into_iter().filter(taken);
    DeviceHealth {
        name: device.to_string(),
        compiled_in: device.is_compiled_in(),
        found: opened.is_ok(),
        precisions: precisions.map(|precision| precision.to_string()).collect(),
        note: opened.err().map(|error| match error {
            wise_tensor::Error::NotFound { detail, .. } => format!("does not work here: {detail}"),
            error => format!("not compiled in: {}", error.hint()),
        }),
    }
}

/// A line of `/proc/meminfo` in bytes; `None` where there is no such file.
fn memory(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn describe(health: &Health) -> String {
    let gigabytes = |bytes: Option<u64>| {
        bytes.map_or_else(
            || "unknown".to_owned(),
            |b| format!("{:.1} GB", b as f64 / 1e9),
        )
    };
    let mut lines = vec![
        format!(
            "wise {} (burn {}, {})",
            health.version, health.burn, health.target
        ),
        format!("cores    {}", health.cores),
        format!(
            "memory   {}, {} available",
            gigabytes(health.memory_bytes),
            gigabytes(health.memory_available_bytes)
        ),
        format!(
            "cache    {} (smollm2 {})",
            health.cache,
            if health.smollm2_cached {
                "there"
            } else {
                "not fetched yet"
            }
        ),
    ];
    for device in &health.devices {
        let state = match (&device.note, device.found) {
            (_, true) => format!("ready, precisions {}", device.precisions.join(", ")),
            (Some(note), false) => note.clone(),
            (None, false) => "not found".to_owned(),
        };
        lines.push(format!("{:<8} {state}", device.name));
    }
    lines.join("\n")
}
