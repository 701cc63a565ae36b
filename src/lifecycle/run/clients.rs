//! What operators' commands ask of a running bottle.

use std::time::Duration;

use bottle_contract::Grant;
use bottle_policy::reach;

use super::Run;
use crate::control_socket::grant_command::GrantRoute;
use crate::control_socket::message::Failure;
use crate::control_socket::policy_command::PolicyInForce;
use crate::control_socket::reload_command::{Difference, Reload, ReloadResult};
use crate::control_socket::{ClientId, Request, Response};
use crate::digest::sha256_hex;
use crate::error::{Error, OrFail};
use crate::files::random_hex;
use crate::lifecycle::change::{Change, Lease, PolicyError, Requester};
use crate::lifecycle::state_machine::State;
use crate::plan::{Plan, SidecarPlan};

impl Run<'_> {
    /// Answers what a client asks for.
    pub(super) fn serve(&mut self, client: ClientId) {
        for request in self.server.read(client) {
            match request {
                Request::Policy => {
                    let (generation, reach) = (self.policy.generation, self.plan_in_force().reach());
                    self.server.answer(client, &Response::Policy(Box::new(PolicyInForce { generation, reach })));
                }
                Request::Asks => self.list_questions(client),
                Request::Answer(decision) => self.answer_question(client, *decision),
                Request::Reload(request) => match self.reload(client, &request) {
                    Ok(Some(result)) => self.server.answer(client, &Response::Reload(result)),
                    // It is answered once it is in force, or is not.
                    Ok(None) => {}
                    Err(error) => self.server.answer(client, &Response::Failed(error.into())),
                },
                Request::Grant(request) => {
                    let granted = self.grant(client, request);
                    granted.unwrap_or_else(|error| self.server.answer(client, &Response::Failed(error.into())));
                }
            }
        }
    }

    /// The answer to a request to reload; none yet if a change is under way for it.
    fn reload(&mut self, client: ClientId, request: &Reload) -> Result<Option<ReloadResult>, Error> {
        let plan = self.plan;
        let (id, agent) = (&plan.id, &plan.agent.name);
        let refused = |error: PolicyError| error.for_operator(id, agent);
        if self.state() != State::Running {
            return Err(refused(PolicyError::NotRunning));
        }
        if self.policy.under_way.is_some() {
            return Err(refused(PolicyError::Busy));
        }
        let generation = self.policy.generation;
        let next = (self.policy.source.reread)(&self.policy.source.blueprint)?;
        let grants = self.policy.in_force.grants.all();
        let planned = self.policy.source.blueprint.again(&next, plan, generation, &grants);
        let planned = planned.map_err(|fixed| refused(PolicyError::Fixed(fixed)))?;
        let in_force = self.plan_in_force();
        if planned.sidecars == in_force.sidecars {
            return Ok(Some(ReloadResult::Same { generation }));
        }
        let difference = difference(in_force, &planned)?;
        match &request.agreed {
            None => Ok(Some(ReloadResult::Differs(difference))),
            Some(agreed) if *agreed == difference.digest => {
                self.change_policy(Change::Manifest(Box::new(next)), Requester::Client(client)).map_err(refused)?;
                Ok(None)
            }
            Some(_) => Err(Error::failed(
                format!("the policy of `{id}` was not changed"),
                "the manifests, or the policy in force, have changed since the difference was shown",
                format!("`bottle reload {id}` shows it again"),
            )),
        }
    }

    /// Begins to allow what an operator grants; it is answered once it is in force.
    fn grant(&mut self, client: ClientId, request: GrantRoute) -> Result<(), Error> {
        let plan = self.plan;
        let GrantRoute { route, seconds, uses } = request;
        let id = random_hex().or_bug("cannot name the grant")?;
        let lease = Lease { grant: Grant { id, route, uses }, lasts: seconds.map(Duration::from_secs) };
        let begun = self.change_policy(Change::Grant(lease), Requester::Client(client));
        begun.map_err(|error| error.for_operator(&plan.id, &plan.agent.name))
    }

    /// Tells a client what came of the change that it asked for.
    pub(super) fn answer_change(&mut self, client: ClientId, result: Result<u64, PolicyError>) {
        let response = match result {
            Ok(generation) => Response::InForce { generation },
            Err(error) => Response::Failed(Failure::from(error.for_operator(&self.plan.id, &self.plan.agent.name))),
        };
        self.server.answer(client, &response);
    }
}

fn difference(before: &Plan, after: &Plan) -> Result<Difference, Error> {
    let both: (&[SidecarPlan], &[SidecarPlan]) = (&before.sidecars, &after.sidecars);
    let digest = sha256_hex(&serde_json::to_vec(&both).or_bug("the policy cannot be written")?);
    let (before, after) = (before.reach(), after.reach());
    let beyond = |known, other| reach::beyond(known, other).iter().map(ToString::to_string).collect();
    Ok(Difference { more: beyond(&before, &after), less: beyond(&after, &before), digest })
}
