//! Short texts, without the heap.

use napi::bindgen_prelude::FromNapiValue;
use napi::{Result, check_status, sys};
use zeroize::Zeroize;

/// A text, wiped when dropped, of which fewer than `N` bytes are read. `N` is more than a right one has, so that one
/// which was cut off is wrong all the same.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    pub fn as_str(&self) -> &str {
        // Node-API cuts between characters, and writes UTF-8.
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl<const N: usize> Drop for Text<N> {
    fn drop(&mut self) {
        self.bytes[..self.length].zeroize();
    }
}

impl<const N: usize> FromNapiValue for Text<N> {
    #[allow(unsafe_code, reason = "napi itself reads texts onto the heap alone")]
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut text = Self { bytes: [0; N], length: 0 };
        let Self { bytes, length } = &mut text;
        // SAFETY: `env` and `value` are valid, as this function's own contract says, and Node-API writes at most `N`
        // bytes to `bytes`, the closing zero included.
        let status = unsafe {
            sys::napi_get_value_string_utf8(env, value, bytes.as_mut_ptr().cast(), N, length)
        };
        check_status!(status)?;
        Ok(text)
    }
}
