//! Whether a device computes what the CPU does.

use crate::error::{Error, Result};
use crate::process::{cargo, run};

/// Builds the suite with the device's backend and runs it there.
pub(crate) fn conformance(arguments: &[String]) -> Result {
    let (device, rest) = match arguments {
        [] => ("cpu", arguments),
        [flag, device, rest @ ..] if flag == "--device" => (device.as_str(), rest),
        [first, ..] => {
            return Err(Error::usage(
                format!("unknown argument {first:?}"),
                "--device cpu, wgpu or cuda:N",
            ));
        }
    };
    let feature = features(device)?;
    run(cargo(&format!(
        "run --package wise-conformance{feature} -- --device {device}"
    ))
    .args(rest))
}

/// The arguments of cargo that compile the devices' backends in.
pub(crate) fn features(devices: &str) -> Result<String> {
    let mut features = Vec::new();
    for name in devices.split(',') {
        match name.split(':').next() {
            Some("cpu") => {}
            Some(feature @ ("wgpu" | "cuda")) => features.push(feature),
            _ => {
                return Err(Error::usage(
                    format!("device {name:?}"),
                    "cpu, wgpu or cuda:N, or several with commas",
                ));
            }
        }
    }
    Ok(match features.as_slice() {
        [] => String::new(),
        some => format!(" --features {}", some.join(",")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_is_a_usage_error() {
        for arguments in [["--device", "tpu"], ["--gpu", "0"]] {
            let error = conformance(&arguments.map(str::to_owned)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}
