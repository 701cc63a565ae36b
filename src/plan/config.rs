//! The configurations of the sidecars. Add a sidecar: add a row to the list at the end, and its function in
//! [`super::sidecars`].

use bottle_contract::egress::{self, EgressConfig};
use bottle_contract::gate::{self, GateConfig};
use bottle_contract::pipelock::{self, PipelockConfig};
use serde::Serialize;
use serde_json::Value;

/// The configuration of one sidecar.
pub trait Config: Clone + Serialize {
    /// The name of its file.
    const FILE: &'static str;

    /// This configuration, if the sidecar has it.
    fn of(config: &SidecarConfig) -> Option<&Self>;

    /// Where fingerprints of the bottle's secrets go, if the sidecar recognises them.
    fn fingerprints(&mut self) -> Option<&mut Value> {
        None
    }
}

/// Rows of variant, configuration, file and the place of fingerprints.
macro_rules! sidecar_configs {
    ($($variant:ident($config:ty) in $file:expr, recognises by $fingerprints:expr;)*) => {
        /// The configuration of a sidecar.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum SidecarConfig {
            $(
                #[doc = concat!("[`", stringify!($config), "`]")]
                $variant(Box<$config>),
            )*
        }

        impl SidecarConfig {
            /// The file's name and text; `fingerprints` go in where the sidecar recognises secrets.
            pub fn render(&self, fingerprints: &Value) -> serde_json::Result<(&'static str, String)> {
                match self {
                    $(Self::$variant(config) => render(&**config, fingerprints),)*
                }
            }
        }

        $(
            impl Config for $config {
                const FILE: &'static str = $file;

                fn of(config: &SidecarConfig) -> Option<&Self> {
                    match config {
                        SidecarConfig::$variant(config) => Some(config),
                        _ => None,
                    }
                }

                fn fingerprints(&mut self) -> Option<&mut Value> {
                    let place: fn(&mut Self) -> Option<&mut Value> = $fingerprints;
                    place(self)
                }
            }

            impl From<$config> for SidecarConfig {
                fn from(config: $config) -> Self {
                    Self::$variant(Box::new(config))
                }
            }
        )*
    };
}

fn render<C: Config>(config: &C, fingerprints: &Value) -> serde_json::Result<(&'static str, String)> {
    let mut config = config.clone();
    if let Some(place) = config.fingerprints() {
        *place = fingerprints.clone();
    }
    Ok((C::FILE, serde_json::to_string_pretty(&config)?))
}

sidecar_configs! {
    Egress(EgressConfig) in egress::FILE, recognises by |_| None;
    Pipelock(PipelockConfig) in pipelock::FILE, recognises by |config| Some(&mut config.x_bottle.fingerprints);
    GitGate(GateConfig) in gate::FILE, recognises by |config| Some(&mut config.fingerprints);
}
