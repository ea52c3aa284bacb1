use application::store_contract;

store_contract!(crate::schema::store);
