//! Brings back every deployed app when the host starts. Apps come back in parallel, so that a guest that does not start delays no
//! other, and while the host already listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::changing::AppChange;
use super::{Broken, Registry, store};
use crate::app::error::ChangeError;
use crate::app::revision::Serving;
use crate::app::running::App;
use crate::capability::secrets::SecretChanges;
use crate::meter::Meter;
use crate::persist::error::DbError;

/// Shortest time between two publications of the routes: each one writes all of them.
const PUBLISH_PERIOD: Duration = Duration::from_millis(10);

/// The apps to bring back. Until they are back nobody else changes them.
pub struct Restoring {
    apps: Vec<(store::StoredApp, AppChange)>,
}

impl Registry {
    /// Reads which apps were deployed.
    pub async fn stored(&self) -> Result<Restoring, DbError> {
        self.resources.learned().restore(&self.db).await?;
        let mut apps = Vec::new();
        for app in self.db.write(store::apps).await? {
            self.coming.write().insert(app.name.clone(), app.next_revision);
            let change = self.changing.app(&app.name).await;
            apps.push((app, change));
        }
        Ok(Restoring { apps })
    }

    /// Brings these apps back, from cached machine code. Each serves as soon as it can. An app that cannot be brought back is
    /// reported and stays stored.
    pub async fn restore(self: &Arc<Self>, stored: Restoring) {
        let mut active = JoinSet::new();
        for (app, change) in stored.apps {
            let registry = self.clone();
            active.spawn(async move {
                registry.bring_back(&app).await;
                registry.coming.write().remove(&app.name);
                (app, change)
            });
        }
        // Active revisions come first, in case the quota is smaller than before.
        let mut splits = JoinSet::new();
        for (app, change) in self.publish_as_they_come(active).await {
            let registry = self.clone();
            splits.spawn(async move {
                registry.bring_back_split(&app).await;
                drop(change);
            });
        }
        self.publish_as_they_come(splits).await;
        self.readiness.all_came();
    }

    async fn publish_as_they_come<T: 'static>(&self, mut apps: JoinSet<T>) -> Vec<T> {
        let (mut came, mut published, mut unpublished) = (Vec::new(), Instant::now(), false);
        while !apps.is_empty() {
            let wait = if unpublished { PUBLISH_PERIOD } else { Duration::MAX };
            if let Ok(Some(app)) = tokio::time::timeout(wait, apps.join_next()).await {
                // A panic is in the log; the app is not served.
                came.extend(app.ok());
                unpublished = true;
            }
            if unpublished && (published.elapsed() >= PUBLISH_PERIOD || apps.is_empty()) {
                self.publish_routes();
                self.readiness.came();
                (published, unpublished) = (Instant::now(), false);
            }
        }
        came
    }

    /// Serves the active revision of a stored app, or notes why it cannot.
    pub(super) async fn bring_back(&self, stored: &store::StoredApp) {
        let (name, next_revision) = (stored.name.clone(), stored.next_revision);
        match self.restore_app(stored).await {
            Ok(()) => drop(self.broken.write().remove(&name)),
            Err(error) => {
                tracing::error!("app {name} is not served: {error}");
                self.broken.write().insert(name, Broken { reason: error.to_string(), next_revision });
            }
        }
    }

    async fn restore_app(&self, stored: &store::StoredApp) -> Result<(), ChangeError> {
        let meter = Arc::<Meter>::default();
        let secrets = self.secrets(&stored.name, &SecretChanges::new()).await?;
        let active = Serving::alone(stored.serving.active.clone());
        let active = self.make_active(&active, &secrets, &meter, None).await?;
        let app = App::new(meter, stored.next_revision, active);
        self.apps.write().insert(stored.name.clone(), app.clone());
        (self.on_change)(&app);
        Ok(())
    }
}
