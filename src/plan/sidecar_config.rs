//! The configurations of the sidecars. To add a sidecar, add a row at the end, and its function in [`super::sidecars`].

use bottle_contract::Fingerprints;
use bottle_contract::egress::{self, EgressConfig};
use bottle_contract::gate::{self, GateConfig};
use bottle_contract::pipelock::{self, PipelockConfig};
use bottle_contract::supervise::{self, SuperviseConfig};
use serde::Serialize;

/// The configuration of one sidecar.
pub trait Config: Clone + Serialize {
    /// The name of its file.
    const FILE: &'static str;

    /// This configuration, if the sidecar has it.
    fn of(config: &SidecarConfig) -> Option<&Self>;

    /// The field for fingerprints, if the sidecar recognises secrets.
    fn fingerprints(&mut self) -> Option<&mut Option<Fingerprints>> {
        None
    }
}

/// Rows: variant, configuration, file, and the field for fingerprints.
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
            /// The file's name and text, with the `fingerprints` if the sidecar recognises secrets.
            pub fn render(&self, fingerprints: Option<&Fingerprints>) -> serde_json::Result<(&'static str, String)> {
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

                fn fingerprints(&mut self) -> Option<&mut Option<Fingerprints>> {
                    let field: fn(&mut Self) -> Option<&mut Option<Fingerprints>> = $fingerprints;
                    field(self)
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

fn render<C: Config>(config: &C, fingerprints: Option<&Fingerprints>) -> serde_json::Result<(&'static str, String)> {
    let mut config = config.clone();
    if let Some(field) = config.fingerprints() {
        *field = fingerprints.cloned();
    }
    Ok((C::FILE, serde_json::to_string_pretty(&config)?))
}

sidecar_configs! {
    Egress(EgressConfig) in egress::FILE, recognises by |_| None;
    Pipelock(PipelockConfig) in pipelock::FILE, recognises by |config| Some(&mut config.x_bottle.fingerprints);
    GitGate(GateConfig) in gate::FILE, recognises by |config| Some(&mut config.fingerprints);
    Supervise(SuperviseConfig) in supervise::FILE, recognises by |_| None;
}
