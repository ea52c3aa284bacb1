//! What one batch of reports adds to which accounts, and who has to end because of it. Stores add up and write; what it
//! means is decided here, so that all of them mean the same.

use std::collections::BTreeMap;

use crate::{Account, JobId, OverBudget, TenantId, Used, over_budget};

/// What reports of several sessions bring.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By the session whose account it counts in, if it has one: the one that reported, and all above it.
    pub accounts: BTreeMap<JobId, Used>,
    pub tenants: BTreeMap<TenantId, Used>,
    /// Those who reported, with their ancestors.
    reported: BTreeMap<JobId, (TenantId, Vec<JobId>)>,
}

impl Ledger {
    pub fn add(&mut self, tenant: TenantId, job: JobId, ancestors: &[JobId], came: Used) {
        for owner in ancestors.iter().chain([&job]) {
            let account = self.accounts.entry(*owner).or_default();
            *account = account.plus(came);
        }
        let month = self.tenants.entry(tenant).or_default();
        *month = month.plus(came);
        let line = || (tenant, ancestors.to_vec());
        self.reported.entry(job).or_insert_with(line);
    }

    pub fn is_empty(&self) -> bool {
        self.reported.is_empty()
    }

    /// Those of the sessions that have to end, by the accounts and the months as they are with all of it. What is the
    /// family's is named before what is the tenant's.
    pub fn over(
        self,
        accounts: &BTreeMap<JobId, Account>,
        months: &BTreeMap<TenantId, OverBudget>,
    ) -> Vec<(JobId, OverBudget)> {
        let over = |(job, (tenant, ancestors)): (JobId, (TenantId, Vec<JobId>))| {
            let family = over_budget(job, &ancestors, accounts);
            let over = family.or_else(|| months.get(&tenant).cloned())?;
            Some((job, over))
        };
        self.reported.into_iter().filter_map(over).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Budget, MonthUse, MonthlyLimits, Timestamp, Whose};

    fn job(number: u128) -> JobId {
        JobId::from_uuid(Uuid::from_u128(number))
    }

    fn tokens(tokens: u64) -> Used {
        Used {
            tokens,
            ..Used::default()
        }
    }

    #[test]
    fn what_children_use_counts_once_in_each_account_above_them_and_in_the_month() {
        let acme = TenantId::from_uuid(Uuid::from_u128(70));
        let mut ledger = Ledger::default();
        ledger.add(acme, job(3), &[job(1), job(2)], tokens(5));
        ledger.add(acme, job(4), &[job(1)], tokens(7));
        ledger.add(acme, job(3), &[job(1), job(2)], tokens(1));
        let accounts: Vec<u64> = ledger.accounts.values().map(|used| used.tokens).collect();
        assert_eq!(accounts, [13, 6, 6, 7]);
        assert_eq!(ledger.tenants[&acme], tokens(13));

        let account = Account {
            limits: Budget {
                tokens: Some(6),
                ..Budget::default()
            },
            times: 1,
            used: tokens(6),
        };
        let monthly = MonthlyLimits {
            tokens: Some(1),
            cost_usd: None,
        };
        let month = MonthUse {
            tokens: 13,
            cost_usd: 0.0,
        };
        let month = monthly.over(month, Timestamp::UNIX_EPOCH).unwrap();
        let months = BTreeMap::from([(acme, month)]);
        let over = ledger.over(&BTreeMap::from([(job(2), account)]), &months);
        let whose: Vec<_> = over.iter().map(|(job, over)| (*job, over.whose)).collect();
        assert_eq!(whose, [(job(3), Whose::Family), (job(4), Whose::Tenant)]);
    }
}
