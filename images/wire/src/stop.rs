//! A signal to stop, given once and seen by all.

use tokio::sync::watch;

/// Waits for the stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Gives the stop. Its drop gives it too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stop {
    /// A pair.
    pub fn pair() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Self(receiver))
    }

    /// Returns once the stop is given.
    pub async fn stopped(&self) {
        let mut receiver = self.0.clone();
        // An error means that the stopper is gone, which stops too.
        let _ = receiver.wait_for(|&stop| stop).await;
    }
}

impl Stopper {
    /// Gives the stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}
