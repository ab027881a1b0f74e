//! Who vouches for a patch: Ed25519 (RFC 8032).

use std::fmt;
use std::path::Path;

use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature as Signed, Signer, SigningKey, VerifyingKey};

use crate::{Error, Result};

/// The tensor that holds it.
pub(crate) const SIGNATURE: &str = "signature";
/// What is signed begins with this, so that no signature made for something else passes for one of a patch.
const CONTEXT: &[u8] = b"wise patch\0";

/// A key that signatures can be checked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key in PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Key`].
    pub fn read(path: &Path) -> Result<Self> {
        let key = VerifyingKey::from_public_key_pem(&pem(path)?);
        key.map(Self).map_err(|_| bad_key(path, "a public"))
    }
}

/// As `ed25519:` and 64 hexadecimal digits.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ed25519:")?;
        self.0
            .as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that signs.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Reads a key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Key`].
    pub fn read(path: &Path) -> Result<Self> {
        let key = SigningKey::from_pkcs8_pem(&pem(path)?);
        key.map(Self).map_err(|_| bad_key(path, "a private"))
    }
}

/// A signature and the key it can be checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) by: PublicKey,
    signed: Signed,
}

impl Signature {
    /// Signs a patch's checksums, which stand for all of it.
    pub(crate) fn new(key: &SecretKey, checksums: &[u8]) -> Self {
        Self {
            by: PublicKey(key.0.verifying_key()),
            signed: key.0.sign(&message(checksums)),
        }
    }

    pub(crate) fn is_of(&self, checksums: &[u8]) -> bool {
        let message = message(checksums);
        self.by.0.verify_strict(&message, &self.signed).is_ok()
    }

    /// The key's 32 bytes, then the signature's 64.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&self.by.0.as_bytes()[..], &self.signed.to_bytes()].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, signed) = bytes.split_first_chunk()?;
        Some(Self {
            by: PublicKey(VerifyingKey::from_bytes(key).ok()?),
            signed: Signed::from_slice(signed).ok()?,
        })
    }
}

fn message(checksums: &[u8]) -> Vec<u8> {
    [CONTEXT, checksums].concat()
}

fn pem(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn bad_key(path: &Path, kind: &'static str) -> Error {
    Error::Key {
        path: path.to_owned(),
        kind,
    }
}
