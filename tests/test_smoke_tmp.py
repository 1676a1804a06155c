import iqlearn as iq, pytest
from iqlearn.settings import Network
def test_learn(cartpole, tmp_path):
    run = iq.learn(iq.IQLearn(network=Network(hidden=(8,))), cartpole, steps=4, evaluations=2, eval_episodes=1, out=tmp_path/"r")
    run.reward(cartpole)
    run.policy.predict(cartpole.obs[0]); run.policy(cartpole.obs, deterministic=False)
    iq.Run.load(tmp_path/"r")
def test_variants(cartpole):
    for kw in [dict(value_term=v) for v in ["initial","expert_states","expert","mixture"]]+[dict(target_update="hard"),dict(target_update="polyak"),dict(next_value_gradient=False), dict(weight_decay=.1), dict(network=Network(hidden=(), layer_norm=True, ensemble=2))]:
        kw.setdefault("network", Network(hidden=(8,)))
        iq.learn(iq.IQLearn(**kw), cartpole, steps=2, evaluations=1, eval_episodes=1)
@pytest.mark.parametrize("d", ["chi2","chi2_mixture","tv","forward_kl","unbiased_kl","donsker_varadhan","reverse_kl","hellinger","jensen_shannon"])
def test_div(cartpole, d):
    iq.learn(iq.IQLearn(divergence=d,network=Network(hidden=(8,))), cartpole, steps=2, evaluations=1, eval_episodes=1)
def test_bc(cartpole):
    iq.learn(iq.BC(), cartpole, steps=2, evaluations=1, eval_episodes=1)
def test_seeds(cartpole):
    iq.learn_seeds(iq.BC(), [cartpole.take(2,0), cartpole.take(3,1)], seeds=[0,1], steps=2, evaluations=1, eval_episodes=1)
def test_expert():
    from iqlearn.training.expert import train_expert
    from iqlearn.algorithms import SoftQLearning
    from iqlearn.settings import SoftQ
    from iqlearn.envs.vector import VectorEnv
    from iqlearn.envs.gym import task_spec
    from iqlearn.run import unit_scale
    env=VectorEnv("CartPole-v1",2,0); spec=task_spec("CartPole-v1")
    list(train_expert(SoftQLearning(SoftQ()),env,spec,unit_scale(spec),0,rounds=3,random_rounds=1,capacity=1000))
