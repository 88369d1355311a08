CREATE TABLE orders (id serial PRIMARY KEY, what text NOT NULL, worker text NOT NULL);
