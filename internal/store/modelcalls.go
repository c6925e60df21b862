package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// ModelSpending is what was taken of models: calls, tokens, and their cost.
type ModelSpending struct {
	Calls, Tokens int
	Cost          float64
}

// SpendOnModel writes down that a call takes at most a number of tokens at a cost, if
// allowed says yes to what all replicas took in the hour before, with it. id is for
// SpentOnModel.
func (s *Store) SpendOnModel(ctx context.Context, now time.Time, tokens int, cost float64, allowed func(ModelSpending) error) (id int64, refused, err error) {
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, `DELETE FROM model_calls WHERE at <= ?`, now.Add(-time.Hour).UnixNano()); err != nil {
			return err
		}
		var sum ModelSpending
		if err := c.QueryRowContext(ctx, `SELECT count(*), CAST(coalesce(sum(tokens), 0) AS BIGINT), coalesce(sum(cost), 0.0) FROM model_calls`).Scan(&sum.Calls, &sum.Tokens, &sum.Cost); err != nil {
			return err
		}
		sum.Calls, sum.Tokens, sum.Cost = sum.Calls+1, sum.Tokens+tokens, sum.Cost+cost
		if refused = allowed(sum); refused != nil {
			return nil //nolint:nilerr // it is an answer, not a failure of the storage
		}
		return c.QueryRowContext(ctx, `INSERT INTO model_calls (at, tokens, cost) VALUES (?, ?, ?) RETURNING id`, now.UnixNano(), tokens, cost).Scan(&id)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("writing down a model's call: %w", err)
	}
	return id, refused, nil
}

// SpentOnModel puts what a call took in the place of what was set aside.
func (s *Store) SpentOnModel(ctx context.Context, id int64, tokens int, cost float64) error {
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `UPDATE model_calls SET tokens = ?, cost = ? WHERE id = ?`, tokens, cost, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing down what a model's call took: %w", err)
	}
	return nil
}
